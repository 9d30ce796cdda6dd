"""What `connect` says of the push channel: where it is."""

from datetime import datetime
from typing import Any

from django.conf import settings

from devices.models import Device, NextSteps

PATH = "/devices/me/commands/stream"


def tell(device: Device, steps: NextSteps | None, now: datetime) -> dict[str, Any]:
    return {
        "command_sequence": steps.command_sequence if steps else 0,
        "command_stream": f"{settings.STREAM_URL}{PATH}",
    }
