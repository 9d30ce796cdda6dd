"""Extension points of metric ingestion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.extension_points import ExtensionPoint

if TYPE_CHECKING:  # apps.py imports this module before the models are loaded
    from collections.abc import Callable

    from devices.metrics.sample_values import Row
    from devices.registry.models import Device

# A callback receives the newest sample of a request, after all samples of the request are
# committed. It runs in every request, so it must only inspect the row and leave other work
# to a Celery worker.
sample_stored: ExtensionPoint[Callable[[Device, Row], None]] = ExtensionPoint("sample stored")
