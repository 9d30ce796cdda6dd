"""What packages above add to the registry: to retiring, to `connect` and to pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.extension_points import ExtensionPoint

if TYPE_CHECKING:  # apps.py imports this module before there are models
    from collections.abc import Callable
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from django.http import HttpRequest

    from devices.registry.models import Device, NextSteps

# Called with the device's id inside the transaction that retires it. An error undoes
# the retirement.
device_retiring: ExtensionPoint[Callable[[UUID, datetime], None]] = ExtensionPoint(
    "device is being retired"
)

# Returns fields for the answer of `connect`. It is called on every connect, so it
# works from its arguments and asks the database nothing.
connect_response: ExtensionPoint[
    Callable[[Device, NextSteps | None, datetime], dict[str, Any]]
] = ExtensionPoint("connect response")

# Returns the HTML of a panel on the device's page in the portal, or "" for none.
device_page: ExtensionPoint[Callable[[HttpRequest, Device], str]] = ExtensionPoint(
    "device page"
)
