"""django-unfold's settings: appearance and navigation of the portal."""

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy

from provisioning.portal.navigation import MENU, TABS

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
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": MENU},
    "TABS": TABS,
}
