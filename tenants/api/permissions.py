"""Permission classes of the API."""

from typing import ClassVar

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from tenants.context import current_tenant_id
from tenants.models import ApiToken, Role, User


class TenantIsBound(BasePermission):
    """Allow requests for which authentication has bound a tenant."""

    def has_permission(self, request: Request, view: object) -> bool:
        return current_tenant_id() is not None


def current_member(request: Request) -> User:
    """Return the user that sent the request. Only for views that use `IsMember`."""
    caller = request.user
    assert isinstance(caller, User)
    return caller


class IsMember(TenantIsBound):
    """Allow members of the tenant, depending on their role.

    Reading requires at least the role `reads`, and writing at least the role `writes`.
    """

    reads: ClassVar[Role] = Role.VIEWER
    writes: ClassVar[Role] = Role.OPERATOR

    message = "Your role in this tenant does not permit this action."

    def has_permission(self, request: Request, view: object) -> bool:
        if not super().has_permission(request, view):
            return False
        credential = request.auth
        if not isinstance(credential, ApiToken):
            return False
        needed = self.reads if request.method in SAFE_METHODS else self.writes
        return Role(credential.membership.role).includes(needed)


class IsInteractive(BasePermission):
    """Refuse API tokens. A confirmation by a second person must come from the portal.

    A token may be used by a program of the person who asked for the confirmation.
    """

    message = "Confirm this in the portal. An API token cannot confirm it."
    code = "interactive_session_required"

    def has_permission(self, request: Request, view: object) -> bool:
        return not isinstance(request.auth, ApiToken)


class IsAdmin(IsMember):
    """Allow admins and owners of the tenant."""

    reads = Role.ADMIN
    writes = Role.ADMIN
