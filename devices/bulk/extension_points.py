"""Extension point of bulk operations: actions on many devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.extension_points import ExtensionPoint

if TYPE_CHECKING:  # apps.py imports this module before models can be imported
    from collections.abc import Callable, Sequence

    from devices.bulk.actions import BulkAction

# A callback returns actions. They are offered in the order of their registration.
bulk_actions: ExtensionPoint[Callable[[], Sequence[BulkAction]]] = ExtensionPoint("bulk actions")
