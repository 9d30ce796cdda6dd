"""The rows of remote control."""

from devices.remote_control.models.bulk import BulkCommand
from devices.remote_control.models.commands import (
    CommandHistory,
    CommandHistoryQuerySet,
    Screenshot,
    Status,
)
from devices.remote_control.models.sessions import RemoteControlSession
from devices.remote_control.models.tenants import (
    CommandSigningKey,
    RemoteControlPolicy,
    SigningKey,
)

__all__ = [
    "BulkCommand",
    "CommandHistory",
    "CommandHistoryQuerySet",
    "CommandSigningKey",
    "RemoteControlPolicy",
    "RemoteControlSession",
    "Screenshot",
    "SigningKey",
    "Status",
]
