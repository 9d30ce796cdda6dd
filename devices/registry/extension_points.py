"""Extension points of the registry: retirement, the `connect` response, device pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.extension_points import ExtensionPoint

if TYPE_CHECKING:  # apps.py imports this module before models can be imported
    from collections.abc import Callable
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from django.http import HttpRequest

    from devices.registry.models import Device, NextSteps

# Called with the device's id and the current time in the transaction that retires the
# device. An error rolls the retirement back.
device_retiring: ExtensionPoint[Callable[[UUID, datetime], None]] = ExtensionPoint(
    "device is being retired"
)

# Returns fields of the `connect` response. It is called on every connect, so it uses
# its arguments only and sends no database query.
connect_response: ExtensionPoint[Callable[[Device, NextSteps | None, datetime], dict[str, Any]]] = (
    ExtensionPoint("connect response")
)

# Returns the HTML of a panel on the device's page in the portal; "" for no panel.
device_page: ExtensionPoint[Callable[[HttpRequest, Device], str]] = ExtensionPoint("device page")
