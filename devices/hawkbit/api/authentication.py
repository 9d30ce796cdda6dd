"""Authentication with hawkBit's credentials: `TargetToken` and `GatewayToken`."""

from typing import Any, ClassVar
from uuid import UUID

from rest_framework.authentication import get_authorization_header
from rest_framework.request import Request

from core import clock
from devices.hawkbit.models import GatewayToken
from devices.hawkbit.services.gateway_tokens import find_gateway_token
from devices.registry.api.authentication import DeviceAuthentication
from devices.registry.models import DeviceToken
from tenants import tokens
from tenants.api.authentication import BearerAuthentication, invalid_token, record_use
from tenants.context import bind_caller


class SchemeMixin:
    """Read the token from `Authorization: <scheme> <token>` with a scheme of hawkBit."""

    scheme: ClassVar[str]
    prefix: ClassVar[str]

    def token_of(self, request: Request) -> str | None:
        scheme, *words = get_authorization_header(request).split()[:3] or [b""]
        if scheme.lower() != self.scheme.lower().encode():
            return None
        text = words[0].decode("latin-1") if len(words) == 1 else ""
        if tokens.prefix_of(text) != self.prefix:
            raise invalid_token()
        return text

    def authenticate_header(self, request: Request) -> str:
        return f'{self.scheme} realm="provisioning"'


class TargetTokenAuthentication(SchemeMixin, DeviceAuthentication):
    """Authenticate a device by its `dev_` token."""

    scheme = "TargetToken"
    prefix = DeviceToken.prefix


class GatewayTokenAuthentication(SchemeMixin, BearerAuthentication):
    """Authenticate a gateway by its `gwt_` token."""

    scheme = "GatewayToken"
    prefix = GatewayToken.prefix

    def identify(self, token: str) -> tuple[GatewayToken, Any, UUID | None]:
        row = find_gateway_token(tokens.digest(token), now=clock.now())
        if row is None or not tokens.matches(token, row.digest):
            raise invalid_token()
        record_use(row)
        bind_caller("gateway_token", id=row.pk, name=row.name)
        return row, row, row.tenant_id
