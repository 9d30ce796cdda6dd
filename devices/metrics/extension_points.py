"""Extension points of metric ingestion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.extension_points import ExtensionPoint

if TYPE_CHECKING:  # apps.py imports this module before the models are loaded
    from collections.abc import Callable
    from uuid import UUID

    from devices.metrics.sample_values import Row

# A callback receives the ids of the tenant and the device, and the newest sample of a request,
# after all samples of the request are committed. It runs in every request, also on the event
# loop, so it must only inspect the row and leave other work to a Celery worker.
sample_stored: ExtensionPoint[Callable[[UUID, UUID, Row], None]] = ExtensionPoint("sample stored")
