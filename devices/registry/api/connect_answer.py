"""The body of the answer to `POST /devices/connect`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.conf import settings

from core.ignored import Ignored
from core.rest.ignored import ignored_response
from core.times import utc_text
from devices.registry.models import Device


def connect_answer(
    device: Device, steps: dict[str, Any], *, ignored: Sequence[Ignored], now: datetime
) -> dict[str, Any]:
    """Return the answer to a device that has connected.

    Args:
        steps: see `presence.connect`.
        ignored: what could not be used of the device's message.
    """
    return {
        "device_id": str(device.pk),
        "status": Device.Status.ONLINE.value,
        "server_time": utc_text(now),
        "next_connect_in": settings.CONNECT_INTERVAL_SECONDS,
        "quarantined": device.quarantined_at is not None,
        "next_steps": steps,
        "ignored": ignored_response(ignored),
    }
