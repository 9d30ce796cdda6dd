"""Extension points of the registry: retirement, the `connect` response, device pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from core.extension_points import ExtensionPoint

if TYPE_CHECKING:  # apps.py imports this module before models can be imported
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from devices.registry.models import Device, NextSteps, Site

Panel = TypeVar("Panel", bound=Callable[..., Any])

# A callback receives the device's id and the current time. It runs in the transaction that
# retires the device. An error rolls the retirement back.
device_retiring: ExtensionPoint[Callable[[UUID, datetime], None]] = ExtensionPoint(
    "device is being retired"
)

# A callback gives its data of the first device, which has failed, to the second one, which
# replaces it. It runs in the transaction of the replacement. An error rolls it back.
device_replaced: ExtensionPoint[Callable[[Device, Device, datetime], None]] = ExtensionPoint(
    "device is being replaced"
)

# A callback removes what is out of use and still refers to a site that is being deleted. It
# runs in the transaction of the deletion.
site_deleting: ExtensionPoint[Callable[[Site], None]] = ExtensionPoint("site is being deleted")

# A callback returns fields of the `connect` response. It runs on every connect, so it must
# use its arguments only and must not query the database.
connect_response: ExtensionPoint[Callable[[Device, NextSteps | None, datetime], dict[str, Any]]] = (
    ExtensionPoint("connect response")
)

# A callback gets the serial number of the certificate that a device names when it connects.
certificate_named: ExtensionPoint[Callable[[Device, str, datetime], None]] = ExtensionPoint(
    "certificate named at connect"
)

# A callback returns the HTML of a panel on the device's portal page, or "" for no panel. `on_tab`
# says on which tab it is.
device_page: ExtensionPoint[Callable[[HttpRequest, Device], str]] = ExtensionPoint("device page")

# A callback returns HTML for the header of the device's portal page, or "".
device_header: ExtensionPoint[Callable[[HttpRequest, Device], str]] = ExtensionPoint(
    "device page header"
)

_tabs: dict[Any, str] = {}


def on_tab(name: str) -> Callable[[Panel], Panel]:
    """Return a decorator that puts a panel of `device_page` on a tab.

    Args:
        name: a key of `devices.registry.admin.device_page.TABS`.
    """

    def declare(panel: Panel) -> Panel:
        _tabs[panel] = name
        return panel

    return declare


def tab_of(panel: Callable[..., Any]) -> str:
    """Return the tab of a panel of `device_page`."""
    return _tabs[panel]


# A callback returns actions on selected devices of the portal's list, for the member of the
# request: the name, the label, and a function as Django's admin calls it.
device_list_actions: ExtensionPoint[
    Callable[[HttpRequest], Sequence[tuple[str, str, Callable[..., HttpResponse | None]]]]
] = ExtensionPoint("actions of the device list")

# A callback returns the HTML of a panel on the site's portal page, or "" for no panel.
site_page: ExtensionPoint[Callable[[HttpRequest, Site], str]] = ExtensionPoint("site page")
