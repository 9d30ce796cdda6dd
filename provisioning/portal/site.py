"""The portal: one admin site for the superuser and for every tenant's members."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.module_loading import import_string
from django.views.decorators.http import require_GET
from unfold.sites import UnfoldAdminSite

from accounts.middleware import SESSION_KEY, chosen_membership, memberships_of
from provisioning.portal import live, sign_in
from tenants.admin.base import person
from tenants.models import User

# Imported when the URLs are built: the admin classes need this site first.
PAIR_PAGE = "devices.registry.admin.pairing.pair"


class PortalSite(UnfoldAdminSite):
    """Lets in whoever is somebody's member, and the superuser."""

    index_title = "Overview"

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return isinstance(user, User) and user.is_active and user.is_staff

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return sign_in.too_many(request) or super().login(request, extra_context)

    def search(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The side bar is short enough to be read; nothing else is searched here."""
        raise Http404

    def get_urls(self) -> list[Any]:
        """Without the address that leads to a row's page on a site: there is no site."""
        return [
            url
            for url in super().get_urls()
            if getattr(url, "name", "") != "view_on_site"
        ]

    def extra_urls(self) -> list[URLPattern]:
        return [
            path(
                "tenant/<uuid:tenant_id>/",
                self.admin_view(require_GET(choose_tenant)),
                name="choose-tenant",
            ),
            path(
                "live/",
                self.admin_view(require_GET(live.stream)),
                name="live",
            ),
            path("pair/", self.admin_view(import_string(PAIR_PAGE)), name="pair"),
            path(
                "second-factor/",
                self.admin_view(sign_in.ask_second_factor),
                name="second-factor",
            ),
            path(
                "second-factor/set-up/",
                self.admin_view(sign_in.set_up_second_factor),
                name="set-up-second-factor",
            ),
        ]


def choose_tenant(request: HttpRequest, tenant_id: Any) -> HttpResponse:
    """Act for another of the member's own tenants in the rest of this session."""
    mine = {membership.tenant_id for membership in memberships_of(person(request))}
    if tenant_id in mine:
        request.session[SESSION_KEY] = str(tenant_id)
    return HttpResponseRedirect(reverse("admin:index"))


def where(request: HttpRequest) -> str:
    """For whom the signed-in person acts."""
    user = request.user
    if not isinstance(user, User):
        return ""
    if user.is_superuser:
        return "Every tenant"
    membership = chosen_membership(request, user)
    if membership is None:
        return ""
    return f"{membership.tenant.name} · {membership.get_role_display()}"


def tenants(request: HttpRequest) -> list[dict[str, Any]]:
    """The tenants that a member can change to; nothing when there is no choice."""
    user = request.user
    if not isinstance(user, User) or user.is_superuser:
        return []
    memberships = memberships_of(user)
    if len(memberships) < 2:
        return []
    return [
        {
            "title": membership.tenant.name,
            "link": reverse("admin:choose-tenant", args=[membership.tenant_id]),
            "icon": "domain",
        }
        for membership in memberships
    ]
