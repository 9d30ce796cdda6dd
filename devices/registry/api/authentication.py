"""Authentication with device tokens and enrollment tokens; permissions of devices."""

from typing import Any
from uuid import UUID

from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from core import clock
from devices.registry.errors import DeviceIsQuarantined
from devices.registry.models import Device, DeviceToken, EnrollmentToken
from devices.registry.queries import bridged_device, device_of_token, enrollment_token
from devices.registry.services.clone_detection import report_unknown_token
from tenants import tokens
from tenants.api.authentication import BearerAuthentication, invalid_token, record_use
from tenants.api.permissions import IsMember, TenantIsBound
from tenants.context import bind_caller, bind_tenant, every_tenant_scope
from tenants.suspension import require_active

BRIDGED_DEVICE = "provisioning.bridged_device"  # WSGI environ key; no header can have this name


class DeviceAuthentication(BearerAuthentication):
    """Authenticate a device by its `dev_` token.

    A message over MQTT has none: the broker has authenticated the device by its certificate, and
    the bridge, which runs in this process, names the device.
    """

    prefix = DeviceToken.prefix

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        device_id = request.META.get(BRIDGED_DEVICE)
        if device_id is None:
            return super().authenticate(request)
        with every_tenant_scope():
            device = bridged_device(device_id)
        if device is None:
            raise AuthenticationFailed("The device is unknown.", code="unknown_device")
        require_active(device.tenant_id)
        bind_caller("device", id=device.pk, name=device.name)
        bind_tenant(device.tenant_id)
        return device, str(device.pk)

    def identify(self, token: str) -> tuple[Device, str, UUID | None]:
        match = device_of_token(tokens.digest(token))
        if match is None:
            report_unknown_token(tokens.digest(token), now=clock.now())
        if match is None or not tokens.matches(token, match[0]):
            raise invalid_token()
        digest, device = match
        bind_caller("device", id=device.pk, name=device.name)
        return device, digest, device.tenant_id


class EnrollmentAuthentication(BearerAuthentication):
    """Authenticate a request by the `enr_` token of a tenant."""

    prefix = EnrollmentToken.prefix

    def identify(self, token: str) -> tuple[EnrollmentToken, EnrollmentToken, UUID | None]:
        row = enrollment_token(tokens.digest(token), now=clock.now())
        if row is None or not tokens.matches(token, row.digest):
            raise invalid_token()
        record_use(row)
        bind_caller("enrollment_token", id=row.pk, name=row.name)
        return row, row, row.tenant_id


def calling_device(request: Request) -> Device:
    """Return the device that sent the request. The view needs `MayConnect` or `IsDevice`."""
    caller = request.user
    assert isinstance(caller, Device)
    return caller


class MayConnect(TenantIsBound):
    """Allow devices, including those in quarantine."""

    message = "Only devices may call this endpoint."

    def has_permission(self, request: Request, view: object) -> bool:
        return super().has_permission(request, view) and isinstance(request.user, Device)


class IsDevice(MayConnect):
    """Allow devices that are not in quarantine.

    Raises:
        DeviceIsQuarantined: the device is in quarantine.
    """

    def has_permission(self, request: Request, view: object) -> bool:
        if not super().has_permission(request, view):
            return False
        if calling_device(request).quarantined_at is not None:
            raise DeviceIsQuarantined
        return True


class MayEnroll(BasePermission):
    """Allow enrollment tokens, and members whose role permits the request."""

    def has_permission(self, request: Request, view: object) -> bool:
        if isinstance(request.auth, EnrollmentToken):
            return TenantIsBound().has_permission(request, view)
        return IsMember().has_permission(request, view)


class IsDeviceOrMember(BasePermission):
    """Allow devices that are not in quarantine, and members of the tenant."""

    message = IsMember.message

    def has_permission(self, request: Request, view: object) -> bool:
        if isinstance(request.user, Device):
            return IsDevice().has_permission(request, view)
        return IsMember().has_permission(request, view)
