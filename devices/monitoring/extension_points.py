"""Extension points through which higher packages provide data for rules."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet

from core.extension_points import ExtensionPoint

# A callback returns a row with `device_id` and `since` for each drifted device of all tenants.
configuration_drifts: ExtensionPoint[Callable[[], QuerySet[Any]]] = ExtensionPoint(
    "configuration drifts"
)
