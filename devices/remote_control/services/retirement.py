"""End the remote control of a device that is retired."""

from datetime import datetime
from uuid import UUID

from devices.remote_control.services import command_expiry, sessions


def end_control(device_id: UUID, now: datetime) -> None:
    """End the device's session and cancel its commands, in the retiring transaction."""
    sessions.end_of_retired_device(device_id, now)
    command_expiry.cancel_for_retired_device(device_id, now)
