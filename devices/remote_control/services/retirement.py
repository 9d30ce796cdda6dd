"""What a retirement takes with it: control of the device, and what it was to do."""

from datetime import datetime
from uuid import UUID

from devices.remote_control.services import command_expiry, sessions


def let_go(device_id: UUID, now: datetime) -> None:
    """Within the transaction that retires the device."""
    sessions.let_go(device_id, now)
    command_expiry.let_go(device_id, now)
