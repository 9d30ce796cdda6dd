"""The gates of the API: nobody acts unbound, and each caller at their own doors only."""

from typing import ClassVar

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from tenants.context import current_tenant_id
from tenants.models import ApiToken, Role, User


class TenantIsBound(BasePermission):
    """No tenant, no entry."""

    def has_permission(self, request: Request, view: object) -> bool:
        return current_tenant_id() is not None


def calling_member(request: Request) -> User:
    """The person whose token this request has; behind `IsMember` there is one."""
    caller: object = request.user
    assert isinstance(caller, User)
    return caller


class IsMember(TenantIsBound):
    """A member of the tenant: any role may read, an operator and up may write."""

    reads: ClassVar[Role] = Role.VIEWER
    writes: ClassVar[Role] = Role.OPERATOR

    message = "Your role in this tenant does not allow this."

    def has_permission(self, request: Request, view: object) -> bool:
        if not super().has_permission(request, view):
            return False
        credential = request.auth
        if not isinstance(credential, ApiToken):
            return False
        needed = self.reads if request.method in SAFE_METHODS else self.writes
        return Role(credential.membership.role).includes(needed)


class IsAdmin(IsMember):
    """An admin or owner of the tenant."""

    reads = Role.ADMIN
    writes = Role.ADMIN
