"""The portal: one admin site for superusers and for the members of all tenants."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.module_loading import import_string
from django.views.decorators.http import require_GET
from unfold.sites import UnfoldAdminSite

from accounts.middleware import TENANT_SLUG, tenant_address
from provisioning.portal import account_pages, joining, live, sign_in, single_sign_on
from tenants.context import current_tenant_id
from tenants.models import Tenant, User
from tenants.roles import memberships_of, role_in_current_tenant

# Dotted path. It is imported when the URLs are built, because admin classes need the site.
PAIR_PAGE = "devices.registry.admin.pairing.pair"
SEARCH = "provisioning.portal.search.search"
SUGGEST = "provisioning.portal.search.suggest"
SCREENS_PAGE = "devices.remote_control.admin.screens_page.page"
SCREENS_TAKE = "devices.remote_control.admin.screens_page.take"
MAP_PAGE = "provisioning.portal.site_map.page"
LOGO = "provisioning.portal.brand.logo"
MAP_DATA = "provisioning.portal.site_map.data"


class PortalSite(UnfoldAdminSite):
    """Admin site that is open to members of a tenant and to superusers."""

    index_title = "Overview"
    login_template = "portal/login.html"

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return isinstance(user, User) and user.is_active and user.is_staff

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        limited = sign_in.rate_limit_response(request)
        context = {
            "single_sign_on": single_sign_on.is_offered(request),
            "tenant_in_address": TENANT_SLUG in request.META,
        }
        return limited or super().login(request, {**context, **(extra_context or {})})

    def search(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Disable unfold's global search."""
        raise Http404

    def get_urls(self) -> list[Any]:
        """Remove the "view on site" URL, because no model has a page outside the portal."""
        return [url for url in super().get_urls() if getattr(url, "name", "") != "view_on_site"]

    def extra_urls(self) -> list[URLPattern]:
        return [
            path("invitation/<slug:token>/", joining.join, name="invitation"),
            path(
                "password-reset/", account_pages.ask_for_password_reset, name="admin_password_reset"
            ),
            path(
                "password-reset/<uidb64>/<token>/",
                account_pages.SetPasswordView.as_view(),
                name="password_reset_confirm",
            ),
            path("logo/<slug:slug>/", import_string(LOGO), name="logo"),
            path("sso/", single_sign_on.begin, name="single_sign_on"),
            path("sso/callback/", single_sign_on.finish, name="single_sign_on_callback"),
            path("account/", self.admin_view(account_pages.own_settings), name="own_settings"),
            path("sessions/", self.admin_view(account_pages.sessions), name="sessions"),
            path("sites/map/", self.admin_view(import_string(MAP_PAGE)), name="site_map"),
            path("sites/map.json", self.admin_view(import_string(MAP_DATA)), name="site_map_data"),
            path("suggest/", self.admin_view(import_string(SUGGEST)), name="suggest"),
            path("find/", self.admin_view(import_string(SEARCH)), name="find"),
            path("screens/", self.admin_view(import_string(SCREENS_PAGE)), name="screens"),
            path(
                "screens/take/",
                self.admin_view(import_string(SCREENS_TAKE)),
                name="take_screenshots",
            ),
            path("live/", self.admin_view(require_GET(live.stream)), name="live"),
            path("pair/", self.admin_view(import_string(PAIR_PAGE)), name="pair"),
            path(
                "second-factor/", self.admin_view(sign_in.ask_second_factor), name="second-factor"
            ),
            path(
                "second-factor/set-up/",
                self.admin_view(sign_in.set_up_second_factor),
                name="set-up-second-factor",
            ),
        ]


def tenant_label(request: HttpRequest) -> str:
    """Return the current tenant's name and the user's role in it, for the header."""
    user = request.user
    if not isinstance(user, User):
        return ""
    if user.sees_every_tenant:
        return "All tenants"
    tenant_id = current_tenant_id()
    if tenant_id is None:
        return ""
    known = {membership.tenant_id: membership.tenant for membership in memberships_of(user)}
    tenant = known.get(tenant_id) or Tenant.objects.get(pk=tenant_id)
    role = role_in_current_tenant(user)
    shown = "Superuser" if user.is_superuser else role.label if role else ""
    return f"{tenant.name} · {shown}"


def tenant_choices(request: HttpRequest) -> list[dict[str, Any]]:
    """Return links to the other tenants of the user. A superuser can return to all tenants."""
    user = request.user
    if not isinstance(user, User):
        return []
    if user.is_superuser:
        home = {"title": "All tenants", "link": "/admin/", "icon": "public"}
        return [] if user.sees_every_tenant else [home]
    tenants = [membership.tenant for membership in memberships_of(user)]
    if len(tenants) < 2:
        return []
    return [
        {"title": tenant.name, "link": tenant_address(tenant.slug), "icon": "domain"}
        for tenant in tenants
    ]
