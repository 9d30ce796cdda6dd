"""What packages above do with stored samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.extension_points import ExtensionPoint

if TYPE_CHECKING:  # apps.py imports this module before there are models
    from collections.abc import Callable

    from devices.metrics.sample_validation import Row
    from devices.registry.models import Device

# Called with the newest sample of a request after it is committed. It is part of every
# request: look at the row only, and leave the work to a worker.
sample_stored: ExtensionPoint[Callable[[Device, Row], None]] = ExtensionPoint(
    "sample stored"
)
