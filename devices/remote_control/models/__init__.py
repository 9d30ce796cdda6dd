"""Models of remote control."""

from devices.remote_control.models.bulk import BulkCommand
from devices.remote_control.models.commands import (
    CommandHistory,
    CommandHistoryQuerySet,
    Screenshot,
    Status,
)
from devices.remote_control.models.policies import (
    CommandSigningKey,
    RemoteControlPolicy,
    SigningKey,
)
from devices.remote_control.models.sessions import RemoteControlSession

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
