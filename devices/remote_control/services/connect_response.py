"""Fields of the `connect` response that describe commands and the notification stream."""

from datetime import datetime
from typing import Any

from django.conf import settings

from devices.registry.models import Device, NextSteps

PATH = "/devices/me/commands/stream"


def response_fields(device: Device, steps: NextSteps | None, now: datetime) -> dict[str, Any]:
    """Return the fields of the `connect` response that describe commands and the stream.

    A device in quarantine gets no commands and no stream.
    """
    if device.quarantined_at is not None:
        return {"command_sequence": 0, "command_stream": None}
    return {
        "command_sequence": steps.command_sequence if steps else 0,
        "command_stream": f"{settings.STREAM_URL}{PATH}",
    }
