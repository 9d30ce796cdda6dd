"""Middleware of the portal: tenant, first password and second factor of the session."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.services import second_factor
from tenants.context import (
    bind_caller,
    bind_every_tenant,
    bind_tenant,
    every_tenant_scope,
)
from tenants.models import Membership, User

GetResponse = Callable[[HttpRequest], HttpResponse]
ALWAYS = {"login", "logout", "jsi18n"}
WITH_A_FIRST_PASSWORD = ALWAYS | {"password_change"}
WITHOUT_SECOND_FACTOR = ALWAYS | {"second-factor"}
TO_GET_A_SECOND_FACTOR = WITH_A_FIRST_PASSWORD | {
    "second-factor",
    "set-up-second-factor",
    "choose-tenant",
}
SECOND_FACTOR_SHOWN = "second_factor_shown"
SESSION_KEY = "tenant_id"


class PortalMiddleware:
    """In the portal, and only there, the signed-in person names the tenant."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *args: object) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or match.app_name != "admin":
            return None
        user = request.user
        if not isinstance(user, User):
            return None
        if user.password_is_first and match.url_name not in WITH_A_FIRST_PASSWORD:
            return redirect("admin:password_change")
        factor = second_factor.mark(user)
        shown = second_factor_shown(request, factor)
        if factor and not shown and match.url_name not in WITHOUT_SECOND_FACTOR:
            return redirect("admin:second-factor")
        bind_caller("member", id=user.pk, name=user.email)
        if user.is_superuser:
            bind_every_tenant()
            return None
        membership = chosen_membership(request, user)
        if membership is None:
            return None
        bind_tenant(membership.tenant_id)
        asked_for = membership.tenant.requires_second_factor
        if asked_for and not shown and match.url_name not in TO_GET_A_SECOND_FACTOR:
            return redirect("admin:set-up-second-factor")
        return None


def second_factor_shown(request: HttpRequest, factor: str | None) -> bool:
    """Whether this session has shown the second factor that is in use now."""
    return factor is not None and request.session.get(SECOND_FACTOR_SHOWN) == factor


def chosen_membership(request: HttpRequest, user: User) -> Membership | None:
    """The tenant chosen in this session, or the member's first one."""
    memberships = memberships_of(user)
    chosen = request.session.get(SESSION_KEY)
    for membership in memberships:
        if str(membership.tenant_id) == chosen:
            return membership
    return memberships[0] if memberships else None


def memberships_of(user: User) -> list[Membership]:
    """In all tenants: a person may see their own, wherever they act now."""
    with every_tenant_scope():
        mine = Membership.every_tenant.filter(user_id=user.pk)
        return list(mine.select_related("tenant")[:100])
