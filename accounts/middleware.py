"""Portal middleware that selects the tenant and enforces password and second factor rules."""

from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.services import second_factor, user_sessions
from core import clock
from tenants.context import (
    bind_caller,
    bind_every_tenant,
    bind_tenant,
    current_caller,
    every_tenant_scope,
)
from tenants.models import Membership, User

GetResponse = Callable[[HttpRequest], HttpResponse]
# Names of the URLs that are allowed in each state of the session.
ALWAYS = {
    "login",
    "logout",
    "jsi18n",
    "invitation",
    "admin_password_reset",
    "password_reset_confirm",
}
WITH_INITIAL_PASSWORD = ALWAYS | {"password_change"}
BEFORE_SECOND_FACTOR = ALWAYS | {"second-factor"}
BEFORE_SECOND_FACTOR_SETUP = WITH_INITIAL_PASSWORD | {
    "second-factor",
    "set-up-second-factor",
    "choose-tenant",
}
VERIFIED_SECOND_FACTOR = "second_factor_shown"
SESSION_KEY = "tenant_id"
SESSION_ID = "session_id"  # of the `UserSession`


class PortalMiddleware:
    """For portal pages, bind the signed-in user as the caller, and the user's tenant.

    Redirect users with an initial password to the password change. Redirect users to the
    pages of the second factor if they must first enter a code or set up a second factor.
    """

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
        if not _is_signed_in(request, user):
            logout(request)
            return redirect_to_login(request.get_full_path(), "admin:login")
        if user.password_is_first and match.url_name not in WITH_INITIAL_PASSWORD:
            return redirect("admin:password_change")
        factor = second_factor.active_version(user)
        verified = second_factor_verified(request, factor)
        if factor and not verified and match.url_name not in BEFORE_SECOND_FACTOR:
            return redirect("admin:second-factor")
        bind_caller("member", id=user.pk, name=user.email)
        needs_setup = match.url_name not in BEFORE_SECOND_FACTOR_SETUP
        if user.is_superuser:
            bind_every_tenant()
            # Over plain HTTP the portal is for evaluation and development.
            if settings.SESSION_COOKIE_SECURE and not verified and needs_setup:
                return redirect("admin:set-up-second-factor")
            return None
        membership = chosen_membership(request, user)
        if membership is None:
            return None
        bind_tenant(membership.tenant_id)
        required = membership.tenant.requires_second_factor and not verified
        if required and needs_setup:
            return redirect("admin:set-up-second-factor")
        return None


def _is_signed_in(request: HttpRequest, user: User) -> bool:
    """Return False if the session was signed out elsewhere. Store a new session."""
    now = clock.now()
    session_id = request.session.get(SESSION_ID)
    if session_id is not None:
        return user_sessions.is_signed_in(session_id=session_id, user=user, now=now)
    browser = request.headers.get("User-Agent", "")
    address = current_caller().address
    row = user_sessions.begin(user=user, address=address, browser=browser, now=now)
    request.session[SESSION_ID] = str(row.pk)
    return True


def second_factor_verified(request: HttpRequest, factor: str | None) -> bool:
    """Return whether the session was verified with the user's current second factor."""
    return factor is not None and request.session.get(VERIFIED_SECOND_FACTOR) == factor


def chosen_membership(request: HttpRequest, user: User) -> Membership | None:
    """Return the user's membership in the session's tenant, or else the first membership."""
    memberships = memberships_of(user)
    tenant_id = request.session.get(SESSION_KEY)
    for membership in memberships:
        if str(membership.tenant_id) == tenant_id:
            return membership
    return memberships[0] if memberships else None


def memberships_of(user: User) -> list[Membership]:
    """Return up to 100 memberships of a user, in all tenants."""
    with every_tenant_scope():
        memberships = Membership.every_tenant.filter(user_id=user.pk)
        return list(memberships.select_related("tenant")[:100])
