"""The navigation of the portal: the sections of the menu, and the pages of each section.

A section is an entry of the menu. Its pages are tabs above the lists of the section.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse_lazy

Allowed = Callable[[HttpRequest], bool]


def has_permission(permission: str) -> Allowed:
    return lambda request: request.user.has_perm(permission)


def sees_every_tenant(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "sees_every_tenant", False))


def is_member(request: HttpRequest) -> bool:
    return not sees_every_tenant(request) and request.user.has_perm("tenants.view_tenant")


def everyone(request: HttpRequest) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the portal.

    Attributes:
        model: whose list the page is, such as `devices.device`; empty for another page.
    """

    title: str
    link: Any
    allowed: Allowed
    model: str = ""

    def tab(self) -> dict[str, Any]:
        return {"title": self.title, "link": self.link, "permission": self.allowed}


@dataclass(frozen=True, slots=True)
class Section:
    """An entry of the menu, which leads to the first of its pages that the user may see.

    Attributes:
        key: names the tabs on pages that are no lists: `{% tab_list key %}`.
    """

    key: str
    title: str
    icon: str
    pages: Sequence[Page]

    def entry(self) -> dict[str, Any]:
        """Return the entry for unfold's menu."""
        return {
            "title": self.title,
            "icon": self.icon,
            "link": self.link,
            "permission": lambda request: any(page.allowed(request) for page in self.pages),
            "active": self.is_active,
        }

    def link(self, request: HttpRequest) -> str:
        allowed = (page.link for page in self.pages if page.allowed(request))
        return str(next(allowed, reverse_lazy("admin:index")))

    def is_active(self, request: HttpRequest) -> bool:
        """Return whether the page of the request belongs to this section."""
        home = str(reverse_lazy("admin:index"))
        links = [str(page.link) for page in self.pages]
        return any(
            request.path == link or (link != home and request.path.startswith(link))
            for link in links
        )

    def tabs(self) -> dict[str, Any]:
        """Return the entry for unfold's tabs."""
        return {
            "page": self.key,
            "models": [page.model for page in self.pages if page.model],
            "items": [page.tab() for page in self.pages] if len(self.pages) > 1 else [],
        }


def _list(title: str, model: str, allowed: Allowed | None = None) -> Page:
    app_label, name = model.split(".")
    return Page(
        title,
        reverse_lazy(f"admin:{app_label}_{name}_changelist"),
        allowed or has_permission(f"{app_label}.view_{name}"),
        model,
    )


def _page(title: str, name: str, permission: str, *arguments: str) -> Page:
    return Page(title, reverse_lazy(f"admin:{name}", args=arguments), has_permission(permission))


SECTIONS = (
    Section(
        "overview",
        "Overview",
        "dashboard",
        (Page("Overview", reverse_lazy("admin:index"), everyone),),
    ),
    Section(
        "devices",
        "Devices",
        "tv_gen",
        (
            _list("Devices", "devices.device"),
            _page("Pair a device", "pair", "devices.add_device"),
            _list("Imports", "imports.deviceimport"),
            _list("Bulk operations", "bulk.bulkoperation"),
            _list("Enrollment tokens", "devices.enrollmenttoken"),
            _list("Identifier conflicts", "devices.identifierconflict"),
            _list("Unreadable fields", "devices.unreadablefield"),
            _list("Attributes", "devices.attributedefinition"),
        ),
    ),
    Section(
        "sites",
        "Sites",
        "location_on",
        (_list("Sites", "devices.site"), _page("Map", "site_map", "devices.view_site")),
    ),
    Section(
        "screens",
        "Screens",
        "grid_view",
        (_page("Screens", "screens", "remote_control.view_remotecontrolsession"),),
    ),
    Section(
        "alerts",
        "Alerts",
        "notifications",
        (
            _list("Alerts", "monitoring.alert"),
            _list("Rules", "monitoring.monitoringrule"),
            _list("Rule overrides", "monitoring.ruleoverride"),
            _list("Maintenance windows", "maintenance.maintenancewindow"),
            _list("Notification channels", "events.channel"),
            _list("Channel messages", "events.channeldelivery"),
        ),
    ),
    Section(
        "configuration",
        "Configuration",
        "display_settings",
        (
            _list("Configurations", "configurations.deviceconfiguration"),
            _list("Preferences", "preferences.preferencedefinition"),
            Page(
                "Platform configuration",
                reverse_lazy("admin:configurations_edit", args=["platform", "all"]),
                sees_every_tenant,
            ),
            _list("Platform preferences", "preferences.platformpreference"),
        ),
    ),
    Section(
        "updates",
        "Updates",
        "deployed_code_update",
        (
            _list("Rollouts", "updates.deployment"),
            _list("Packages", "updates.softwareupdate"),
            _list("Products", "updates.softwareproduct"),
            _list("Update policy", "updates.updatepolicy"),
            _list("hawkBit", "hawkbit.hawkbitsettings"),
        ),
    ),
    Section(
        "certificates",
        "Certificates",
        "workspace_premium",
        (
            _list("Certificates", "certificates.devicecertificate"),
            _list("Certificate authorities", "certificates.certificateauthority"),
            _list("Renewal campaigns", "certificates.renewalcampaign"),
            _list("Inspections", "certificates.inspection"),
            _list("Integrity findings", "certificates.drift"),
        ),
    ),
    Section(
        "activity",
        "Activity",
        "history",
        (
            _list("Events", "events.event"),
            _list("Commands", "remote_control.commandhistory"),
            _list("Bulk commands", "remote_control.bulkcommand"),
            _list("Remote control sessions", "remote_control.remotecontrolsession"),
            _list("Event deliveries", "events.delivery"),
            _list("Scheduled tasks", "django_celery_beat.periodictask"),
        ),
    ),
    Section(
        "settings",
        "Settings",
        "settings",
        (
            _list("Tenant", "tenants.tenant", is_member),
            _list("Tenants", "tenants.tenant", sees_every_tenant),
            _list("Users", "tenants.user"),
            _list("Members", "tenants.membership"),
            _list("Invitations", "accounts.invitation"),
            _list("Single sign-on", "accounts.signinprovider"),
            _list("API tokens", "tenants.apitoken"),
            _list("Gateway tokens", "hawkbit.gatewaytoken"),
            _list("Remote control policy", "remote_control.remotecontrolpolicy"),
        ),
    ),
)
MENU = [{"items": [section.entry() for section in SECTIONS]}]
TABS = [section.tabs() for section in SECTIONS]
