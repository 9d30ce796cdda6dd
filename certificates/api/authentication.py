"""Authentication of devices by client certificate, and by HTTP Basic for EST clients."""

import base64
import binascii
import ipaddress
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from django.conf import settings
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from certificates.errors import ClientCertificateRefused
from certificates.services import client_certificates, handover
from core import clock
from devices.registry.api.authentication import DeviceAuthentication
from devices.registry.models import Device, DeviceToken
from tenants import tokens
from tenants.api.authentication import invalid_token
from tenants.context import bind_caller, bind_tenant, every_tenant_scope
from tenants.suspension import require_active

HEADER = "HTTP_X_SSL_CLIENT_CERT"  # URL-encoded PEM, nginx's $ssl_client_escaped_cert


class ClientCertificateAuthentication(BaseAuthentication):
    """Authenticate a device by the TLS client certificate that a trusted proxy forwards.

    The proxy has verified that the client has the private key. This class verifies the
    certificate again. The header `X-SSL-Client-Cert` is ignored unless the peer is in
    `CLIENT_CERTIFICATE_PROXIES`.
    """

    def authenticate(self, request: Request) -> tuple[Device, str] | None:
        header = request.META.get(HEADER, "")
        if not header or not comes_from_tls_proxy(request):
            return None
        with every_tenant_scope():  # the tenant is not known yet
            try:
                row, device = client_certificates.verify(unquote(header), now=clock.now())
            except ClientCertificateRefused as error:
                raise AuthenticationFailed(str(error), code=error.code) from error
            require_active(device.tenant_id)
            bind_caller("device", id=device.pk, name=device.name)
            if row.confirmed_at is None:
                handover.confirm(row, now=clock.now())
        bind_tenant(device.tenant_id)
        return device, row.serial_number

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="provisioning"'


class BasicDeviceAuthentication(DeviceAuthentication):
    """Authenticate a device by HTTP Basic (RFC 7617) with the device's id and token.

    EST clients do not support bearer tokens.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        scheme, _, encoded = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"basic":
            return None
        try:
            text = base64.b64decode(encoded, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise invalid_token() from error
        username, _, token = text.partition(":")
        if tokens.prefix_of(token) != DeviceToken.prefix:
            raise invalid_token()
        with every_tenant_scope():
            device, credential, tenant_id = self.identify(token)
        if not _is_id_of(username, device):
            raise invalid_token()
        require_active(tenant_id)
        bind_tenant(tenant_id)
        return device, credential

    def authenticate_header(self, request: Request) -> str:
        return 'Basic realm="provisioning"'


def comes_from_tls_proxy(request: Request) -> bool:
    """Return True if the peer is a proxy trusted to forward client certificates."""
    try:
        peer = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    return any(peer in network for network in settings.CLIENT_CERTIFICATE_PROXIES)


def _is_id_of(text: str, device: Device) -> bool:
    try:
        return UUID(text) == device.pk
    except ValueError:
        return False
