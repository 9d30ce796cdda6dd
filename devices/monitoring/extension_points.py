"""Extension points through which higher packages provide data for rules."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet

from core.extension_points import ExtensionPoint

# Returns the current tenant's drifted devices: rows with `device_id` and `since`.
configuration_drifts: ExtensionPoint[Callable[[], QuerySet[Any]]] = ExtensionPoint(
    "configuration drifts"
)
