"""django-unfold's settings: appearance and navigation of the portal."""

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy

from provisioning.portal.navigation import MENU, TABS

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "provisioning.portal.brand.title",
    "SITE_HEADER": "provisioning.portal.brand.title",
    "SITE_ICON": "provisioning.portal.brand.icon",
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
        lambda request: static("portal/search.js"),
        lambda request: static("portal/suggest.js"),
        lambda request: static("portal/time_zone.js"),
        lambda request: static("portal/vendor/chartjs-adapter-date-fns-3.0.0.min.js"),
        lambda request: static("portal/charts.js"),
    ],
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("portal/icon.svg")}
    ],
    "SITE_DROPDOWN": "provisioning.portal.site.tenant_choices",
    "ACCOUNT": {
        "navigation": [
            {"title": "Your settings", "link": reverse_lazy("admin:own_settings")},
            {
                "title": "Two-factor authentication",
                "link": reverse_lazy("admin:set-up-second-factor"),
            },
            {"title": "Sessions", "link": reverse_lazy("admin:sessions")},
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
        ]
    },
    "COLORS": "provisioning.portal.brand.colors",
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": MENU},
    "TABS": TABS,
}
