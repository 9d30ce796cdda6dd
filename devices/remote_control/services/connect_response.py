"""What `connect` says of the push channel: where it is."""

from datetime import datetime
from typing import Any

from django.conf import settings

from devices.registry.models import Device, NextSteps

PATH = "/devices/me/commands/stream"


def tell(device: Device, steps: NextSteps | None, now: datetime) -> dict[str, Any]:
    """For `connect`; a device in quarantine is told of none."""
    if device.quarantined_at is not None:
        return {"command_sequence": 0, "command_stream": None}
    return {
        "command_sequence": steps.command_sequence if steps else 0,
        "command_stream": f"{settings.STREAM_URL}{PATH}",
    }
