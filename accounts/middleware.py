"""Portal middleware that selects the tenant and enforces password and second factor rules."""

from collections.abc import Callable
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from accounts.services import second_factor, single_sign_on, user_sessions
from core import clock
from core.time_zones import time_zones
from tenants.context import (
    bind_caller,
    bind_every_tenant,
    bind_tenant,
    current_caller,
    current_tenant_id,
    tenant_scope,
)
from tenants.models import Tenant, User
from tenants.roles import limit_memberships, memberships_of

GetResponse = Callable[[HttpRequest], HttpResponse]
# Names of the URLs that are allowed in each state of the session.
ALWAYS = {
    "login",
    "logout",
    "jsi18n",
    "invitation",
    "admin_password_reset",
    "password_reset_confirm",
    "single_sign_on",
    "single_sign_on_callback",
}
WITH_INITIAL_PASSWORD = ALWAYS | {"password_change"}
BEFORE_SECOND_FACTOR = ALWAYS | {"second-factor"}
BEFORE_SECOND_FACTOR_SETUP = WITH_INITIAL_PASSWORD | {"second-factor", "set-up-second-factor"}
VERIFIED_SECOND_FACTOR = "second_factor_shown"
TENANT_SLUG = "provisioning.tenant"  # request.META: the tenant in the address
# Pages of the user or of an installation, which need no tenant.
WITHOUT_TENANT = BEFORE_SECOND_FACTOR_SETUP | {
    "sessions",
    "own_settings",
    "password_change_done",
    "pair",
}
# Pages that members of a suspended tenant can open.
IN_SUSPENDED_TENANT = (WITHOUT_TENANT - {"pair"}) | {
    "tenants_tenant_change",
    "tenants_tenant_resume",
    "tenants_tenant_delete_tenant",
    "tenants_tenant_export",
}
SESSION_ID = "session_id"  # of the `UserSession`
# The tenant of a session with single sign-on. Its provider vouches for this tenant only, so the
# session sees no other one, and the pages of the account itself are closed.
ONLY_TENANT = "only_tenant"
NOT_WITH_SINGLE_SIGN_ON = {
    "invitation",
    "password_change",
    "password_change_done",
    "second-factor",
    "set-up-second-factor",
    "sessions",
}
CLOSED = "This page is for accounts that sign in with a password."
ZONE_COOKIE = "time_zone"  # set by `time_zone.js`


class PortalMiddleware:
    """For portal pages, bind the signed-in user as the caller, and the user's tenant.

    Redirect users with an initial password to the password change. Redirect users to the
    pages of the second factor if they must first enter a code or set up a second factor.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            return self.get_response(request)
        finally:
            timezone.deactivate()  # the thread serves other users next

    def process_view(self, request: HttpRequest, *args: object) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or match.app_name != "admin":
            return None
        user = request.user
        if not isinstance(user, User):
            return None
        timezone.activate(zone_of(request, user))
        if not _is_signed_in(request, user):
            logout(request)
            return redirect_to_login(request.get_full_path(), "admin:login")
        only = request.session.get(ONLY_TENANT)
        if only is not None:
            return self._with_single_sign_on(request, user, only, match.url_name) or suspended_page(
                request, user, match.url_name
            )
        return self._with_password(request, user, match.url_name) or suspended_page(
            request, user, match.url_name
        )

    def _with_password(
        self, request: HttpRequest, user: User, page: str | None
    ) -> HttpResponse | None:
        """Bind the tenant of a session that began with a password, after all its checks."""
        if user.password_is_first and page not in WITH_INITIAL_PASSWORD:
            return redirect("admin:password_change")
        factor = second_factor.active_version(user)
        verified = second_factor_verified(request, factor)
        if factor and not verified and page not in BEFORE_SECOND_FACTOR:
            return redirect("admin:second-factor")
        bind_caller("member", id=user.pk, name=user.email)
        if page in ALWAYS:
            return None
        if not self._enter(request, user):
            return None if page in WITHOUT_TENANT else choose_tenant(request, user)
        if page == "index" and request.method == "GET" and _has_no_address(request):
            return redirect(tenant_address(memberships_of(user)[0].tenant.slug))
        # Over plain HTTP the portal is for evaluation and development.
        is_required = user.is_superuser and settings.SESSION_COOKIE_SECURE
        tenant_id = current_tenant_id()
        if tenant_id is not None:
            is_required |= _tenant(user, tenant_id).requires_second_factor
        if is_required and not verified and page not in BEFORE_SECOND_FACTOR_SETUP:
            return redirect("admin:set-up-second-factor")
        return None

    def _with_single_sign_on(
        self, request: HttpRequest, user: User, only: str, page: str | None
    ) -> HttpResponse | None:
        """Bind the tenant of the session. The provider has asked for a second factor, if any."""
        if page in NOT_WITH_SINGLE_SIGN_ON:
            messages.error(request, CLOSED)
            return redirect("admin:index")
        limit_memberships(user, only)
        bind_caller("member", id=user.pk, name=user.email)
        if page in ALWAYS:
            return None
        if user.is_superuser or not self._enter(request, user) or _has_ended(only):
            logout(request)
            return redirect("admin:login")
        if page == "index" and request.method == "GET" and _has_no_address(request):
            return redirect(tenant_address(memberships_of(user)[0].tenant.slug))
        return None

    def _enter(self, request: HttpRequest, user: User) -> bool:
        """Bind the tenant in the address, or the member's only tenant.

        Returns:
            False if the address has no tenant, and the member has none or several.

        Raises:
            Http404: the tenant does not exist, or the user is no member of it.
        """
        slug = request.META.get(TENANT_SLUG)
        if user.is_superuser:
            if slug is None:
                bind_every_tenant()
            else:
                bind_tenant(get_object_or_404(Tenant, slug=slug).pk)
            return True
        memberships = memberships_of(user)
        if slug is not None:
            memberships = [item for item in memberships if item.tenant.slug == slug]
            if not memberships:
                raise Http404
        if len(memberships) == 1:
            bind_tenant(memberships[0].tenant_id)
        return len(memberships) == 1


def suspended_page(request: HttpRequest, user: User, page: str | None) -> HttpResponse | None:
    """Return the page that says that the tenant is suspended, unless the user may see others."""
    tenant_id = current_tenant_id()
    if tenant_id is None or user.is_superuser or page in IN_SUSPENDED_TENANT:
        return None
    tenant = _tenant(user, tenant_id)
    if tenant.suspended_at is None:
        return None
    context = {
        **admin.site.each_context(request),
        "title": "Suspended",
        "tenant": tenant,
        "may_change": user.has_perm("tenants.change_tenant"),
    }
    return TemplateResponse(request, "portal/suspended.html", context, status=403)


def zone_of(request: HttpRequest, user: User) -> ZoneInfo:
    """Return the time zone that a user has chosen, or that of the browser, or UTC."""
    zone = user.time_zone or request.COOKIES.get(ZONE_COOKIE, "")
    return ZoneInfo(zone if zone in time_zones() else "UTC")


def choose_tenant(request: HttpRequest, user: User) -> HttpResponse:
    """Return the page that asks a member of several tenants for the tenant of an address.

    A form is refused with 409, because it was opened for a tenant that the address does not name.
    """
    tenants = [
        (item.tenant.name, item.get_role_display(), tenant_address(item.tenant.slug, request))
        for item in memberships_of(user)
    ]
    is_form = request.method != "GET"
    context = {"title": "Choose a tenant", "is_form": is_form, "tenants": tenants}
    status = 403 if not tenants else 409 if is_form else 200
    return TemplateResponse(request, "portal/choose_tenant.html", context, status=status)


def tenant_address(slug: str, request: HttpRequest | None = None) -> str:
    """Return the address of a tenant's portal, or of the requested page in that tenant."""
    if request is None or request.method != "GET":
        return f"/t/{slug}/admin/"
    query = request.META.get("QUERY_STRING", "")
    return f"/t/{slug}{request.path_info}" + (f"?{query}" if query else "")


def _has_no_address(request: HttpRequest) -> bool:
    return TENANT_SLUG not in request.META and current_tenant_id() is not None


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


def _tenant(user: User, tenant_id: UUID) -> Tenant:
    """Return the current tenant, without a query if the user is a member."""
    for membership in memberships_of(user):
        if membership.tenant_id == tenant_id:
            return membership.tenant
    return Tenant.objects.get(pk=tenant_id)


def _has_ended(tenant_id: str) -> bool:
    """Return whether a tenant has switched its single sign-on off."""
    with tenant_scope(UUID(tenant_id)):
        return single_sign_on.provider() is None


def second_factor_verified(request: HttpRequest, factor: str | None) -> bool:
    """Return whether the session was verified with the user's current second factor."""
    return factor is not None and request.session.get(VERIFIED_SECOND_FACTOR) == factor
