"""End the remote control of a device that is retired."""

from datetime import datetime
from uuid import UUID

from devices.remote_control.services import command_expiry, sessions


def end_control(device_id: UUID, now: datetime) -> None:
    """End the session and cancel the commands of a device, in the transaction that retires it."""
    sessions.end_of_retired_device(device_id, now)
    command_expiry.cancel_for_retired_device(device_id, now)
