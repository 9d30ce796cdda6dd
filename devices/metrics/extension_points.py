"""Extension points of metric ingestion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.extension_points import ExtensionPoint

if TYPE_CHECKING:  # apps.py imports this module before the models are loaded
    from collections.abc import Callable

    from devices.metrics.sample_validation import Row
    from devices.registry.models import Device

# Called with the newest sample of a request, after the request's samples are committed.
# The call is part of every request: inspect the row only, and leave work to a worker.
sample_stored: ExtensionPoint[Callable[[Device, Row], None]] = ExtensionPoint("sample stored")
