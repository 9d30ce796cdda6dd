"""django-unfold's settings: appearance and navigation of the portal."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _has_permission(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(permission)


def _is_member(request: HttpRequest) -> bool:
    return not _sees_every_tenant(request) and request.user.has_perm("tenants.view_tenant")


def _sees_every_tenant(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "sees_every_tenant", False))


def _page(title: str, icon: str, model: str) -> dict[str, Any]:
    app_label, name = model.split(".")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app_label}_{name}_changelist"),
        "permission": _has_permission(f"{app_label}.view_{name}"),
    }


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "provisioning",
    "SITE_HEADER": "provisioning",
    "SITE_SUBHEADER": "provisioning.portal.site.tenant_label",
    "SITE_SYMBOL": "tv_gen",
    "SITE_URL": None,
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "provisioning.portal.dashboard.callback",
    "LOGIN": {"form": "provisioning.portal.account_pages.SignInForm"},
    "STYLES": [lambda request: static("portal/portal.css")],
    "SCRIPTS": [
        lambda request: static("portal/skip.js"),
        lambda request: static("portal/live.js"),
        lambda request: static("portal/vendor/chartjs-adapter-date-fns-3.0.0.min.js"),
        lambda request: static("portal/charts.js"),
    ],
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("portal/icon.svg")}
    ],
    "SITE_DROPDOWN": "provisioning.portal.site.tenant_choices",
    "ACCOUNT": {
        "navigation": [
            {
                "title": "Two-factor authentication",
                "link": reverse_lazy("admin:set-up-second-factor"),
            },
            {"title": "Sessions", "link": reverse_lazy("admin:sessions")},
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
        ]
    },
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 240)",
            "100": "oklch(94% .03 240)",
            "200": "oklch(88% .06 240)",
            "300": "oklch(80% .1 240)",
            "400": "oklch(70% .14 245)",
            "500": "oklch(61% .17 250)",
            "600": "oklch(53% .18 255)",
            "700": "oklch(46% .16 258)",
            "800": "oklch(39% .13 260)",
            "900": "oklch(33% .1 262)",
            "950": "oklch(25% .08 264)",
        }
    },
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": [
            {
                "items": [
                    {"title": "Overview", "icon": "dashboard", "link": reverse_lazy("admin:index")},
                    _page("Devices", "tv_gen", "devices.device"),
                    {
                        "title": "Pair a device",
                        "icon": "add_link",
                        "link": reverse_lazy("admin:pair"),
                        "permission": _has_permission("devices.add_device"),
                    },
                    _page("Bulk operations", "checklist", "bulk.bulkoperation"),
                    _page("Imports", "upload_file", "imports.deviceimport"),
                    _page("Sites", "location_on", "devices.site"),
                    _page("Certificates", "workspace_premium", "certificates.devicecertificate"),
                    _page("Events", "history", "events.event"),
                ]
            },
            {
                "title": "Configuration",
                "separator": True,
                "items": [
                    _page(
                        "Configurations", "display_settings", "configurations.deviceconfiguration"
                    ),
                    _page("Preferences", "tune", "preferences.preferencedefinition"),
                ],
            },
            {
                "title": "Remote control",
                "separator": True,
                "items": [
                    _page("Commands", "terminal", "remote_control.commandhistory"),
                    _page("Bulk commands", "groups", "remote_control.bulkcommand"),
                    _page("Sessions", "settings_remote", "remote_control.remotecontrolsession"),
                    _page("Remote control policy", "policy", "remote_control.remotecontrolpolicy"),
                ],
            },
            {
                "title": "Software",
                "separator": True,
                "items": [
                    _page("Rollouts", "deployed_code_update", "updates.deployment"),
                    _page("Packages", "package_2", "updates.softwareupdate"),
                    _page("Products", "apps", "updates.softwareproduct"),
                    _page("Update policy", "rule", "updates.updatepolicy"),
                    _page("hawkBit", "hub", "hawkbit.hawkbitsettings"),
                ],
            },
            {
                "title": "Monitoring",
                "separator": True,
                "items": [
                    _page("Alerts", "notifications", "monitoring.alert"),
                    _page("Rules", "rule_settings", "monitoring.monitoringrule"),
                    _page("Rule overrides", "alt_route", "monitoring.ruleoverride"),
                    _page("Notification channels", "campaign", "events.channel"),
                    _page("Channel messages", "outgoing_mail", "events.channeldelivery"),
                ],
            },
            {
                "title": "Access",
                "separator": True,
                "items": [
                    _page("Enrollment tokens", "key", "devices.enrollmenttoken"),
                    _page("Gateway tokens", "router", "hawkbit.gatewaytoken"),
                    _page("Identifier conflicts", "difference", "devices.identifierconflict"),
                    _page("Unreadable fields", "report", "devices.unreadablefield"),
                    _page("Members", "group", "tenants.membership"),
                    _page("Invitations", "person_add", "accounts.invitation"),
                    _page("API tokens", "vpn_key", "tenants.apitoken"),
                    {**_page("Tenant", "domain", "tenants.tenant"), "permission": _is_member},
                ],
            },
            {
                "title": "Installation",
                "separator": True,
                "items": [
                    {
                        **_page("Tenants", "domain", "tenants.tenant"),
                        "permission": _sees_every_tenant,
                    },
                    _page("Users", "person", "tenants.user"),
                    {
                        "title": "Platform configuration",
                        "icon": "layers",
                        "link": reverse_lazy("admin:configurations_edit", args=["platform", "all"]),
                        "permission": _sees_every_tenant,
                    },
                    _page(
                        "Platform preferences", "settings_suggest", "preferences.platformpreference"
                    ),
                    _page(
                        "Certificate authorities",
                        "verified_user",
                        "certificates.certificateauthority",
                    ),
                    _page("Renewal campaigns", "update", "certificates.renewalcampaign"),
                    _page("Certificate inspections", "fact_check", "certificates.inspection"),
                    _page("Integrity findings", "rule", "certificates.drift"),
                    _page("Event deliveries", "outbox", "events.delivery"),
                    _page("Scheduled tasks", "schedule", "django_celery_beat.periodictask"),
                ],
            },
        ],
    },
}
