"""The registry's two bearer tokens: a device's own, and a tenant's enrollment token."""

from uuid import UUID

from django.utils import timezone
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from devices.registry.errors import DeviceIsQuarantined
from devices.registry.models import Device, DeviceToken, EnrollmentToken
from devices.registry.queries import device_of_token, enrollment_token
from tenants import tokens
from tenants.api.authentication import BearerAuthentication, refused_token
from tenants.api.permissions import IsMember, TenantIsBound
from tenants.context import bind_caller


class DeviceAuthentication(BearerAuthentication):
    """A device's `dev_` token."""

    prefix = DeviceToken.prefix

    def identify(self, token: str) -> tuple[Device, str, UUID | None]:
        found = device_of_token(tokens.digest(token))
        if found is None or not tokens.matches(token, found[0]):
            raise refused_token()
        digest, device = found
        bind_caller("device", id=device.pk, name=device.name)
        return device, digest, device.tenant_id


class EnrollmentAuthentication(BearerAuthentication):
    """A tenant's `enr_` token."""

    prefix = EnrollmentToken.prefix

    def identify(
        self, token: str
    ) -> tuple[EnrollmentToken, EnrollmentToken, UUID | None]:
        row = enrollment_token(tokens.digest(token), now=timezone.now())
        if row is None or not tokens.matches(token, row.digest):
            raise refused_token()
        bind_caller("enrollment_token", id=row.pk, name=row.name)
        return row, row, row.tenant_id


def calling_device(request: Request) -> Device:
    """The device that sent this request; behind `IsDevice` there is one."""
    caller: object = request.user
    assert isinstance(caller, Device)
    return caller


class MayConnect(TenantIsBound):
    """A device, even one in quarantine."""

    message = "Only a device may do this."

    def has_permission(self, request: Request, view: object) -> bool:
        return super().has_permission(request, view) and isinstance(
            request.user, Device
        )


class IsDevice(MayConnect):
    """A device, at its own endpoints.

    Raises:
        DeviceIsQuarantined: it gets nothing until a member decides.
    """

    def has_permission(self, request: Request, view: object) -> bool:
        if not super().has_permission(request, view):
            return False
        if calling_device(request).quarantined_at is not None:
            raise DeviceIsQuarantined
        return True


class MayEnroll(BasePermission):
    """An enrollment token, or a member who may write."""

    def has_permission(self, request: Request, view: object) -> bool:
        if isinstance(request.auth, EnrollmentToken):
            return TenantIsBound().has_permission(request, view)
        return IsMember().has_permission(request, view)


class IsDeviceOrMember(BasePermission):
    """A device at what is its own, or a member of its tenant."""

    message = IsMember.message

    def has_permission(self, request: Request, view: object) -> bool:
        if isinstance(request.user, Device):
            return IsDevice().has_permission(request, view)
        return IsMember().has_permission(request, view)
