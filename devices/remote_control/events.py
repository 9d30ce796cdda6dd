"""Domain events of remote control.

Gestures publish no events; they appear in the command history only.
"""

from events.domain_events import DomainEvent


class SessionEvent(DomainEvent):
    """`session` is the session's id."""

    session: str


class RemoteControlStarted(SessionEvent):
    """A member has taken the control of a device."""

    name = "remote_control.started"


class RemoteControlEnded(SessionEvent):
    """`end` is the reason: `by_hand`, `idle`, `offline`, `administrator` or `device`."""

    name = "remote_control.ended"

    controller: str
    end: str


class CommandEvent(DomainEvent):
    """`command` is the command's id; `type` is its type, such as `reboot`."""

    command: str
    type: str
    sequence: int


class CommandIssued(CommandEvent):
    """A command was created for a device."""

    name = "command.issued"


class CommandEnded(CommandEvent):
    """`status` is the final status; `reason` is set if the command did not succeed."""

    name = "command.ended"

    status: str
    reason: str


class BulkCommandEvent(DomainEvent):
    """`bulk` is the id of the bulk command.

    `found` is how many devices matched the filter when the bulk command was requested.
    """

    bulk: str
    type: str
    found: int


class BulkCommandRequested(BulkCommandEvent):
    """`needs_confirmation` is true if another member must confirm the bulk command first."""

    name = "bulk_command.requested"

    needs_confirmation: bool


class BulkCommandConfirmed(BulkCommandEvent):
    """A second member has confirmed a bulk command."""

    name = "bulk_command.confirmed"


class BulkCommandEnded(BulkCommandEvent):
    """`state` is `finished`, `cancelled` or `lapsed`.

    `done` is the number of devices that got the command. `left_out` is the number of devices
    that were skipped.
    """

    name = "bulk_command.ended"

    state: str
    done: int
    left_out: int


class RemoteControlPolicyChanged(DomainEvent):
    """`changes` maps each changed field to its old and its new value."""

    name = "remote_control.policy_changed"


class CommandKeyReplaced(DomainEvent):
    """`thumbprint` identifies the new key (RFC 7638)."""

    name = "remote_control.key_replaced"

    thumbprint: str
