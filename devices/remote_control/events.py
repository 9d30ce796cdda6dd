"""What happens when devices are controlled. Gestures are in the command history alone."""

from events.domain_events import DomainEvent


class SessionEvent(DomainEvent):
    """`session` is an id."""

    session: str


class RemoteControlStarted(SessionEvent):
    name = "remote_control.started"


class RemoteControlEnded(SessionEvent):
    """`end` says how: `by_hand`, `idle`, `offline`, `administrator` or `device`."""

    name = "remote_control.ended"

    controller: str
    end: str


class CommandEvent(DomainEvent):
    """`command` is an id; `type` is like `reboot`."""

    command: str
    type: str
    sequence: int


class CommandIssued(CommandEvent):
    name = "command.issued"


class CommandEnded(CommandEvent):
    """`status` is the last one; `reason` says why it is not `succeeded`."""

    name = "command.ended"

    status: str
    reason: str


class BulkCommandEvent(DomainEvent):
    """`bulk` is an id; `found` is how many devices the filter found at first."""

    bulk: str
    type: str
    found: int


class BulkCommandRequested(BulkCommandEvent):
    """`needs_confirmation`: it waits for a second person."""

    name = "bulk_command.requested"

    needs_confirmation: bool


class BulkCommandConfirmed(BulkCommandEvent):
    name = "bulk_command.confirmed"


class BulkCommandEnded(BulkCommandEvent):
    """`state` is `finished`, `cancelled` or `lapsed`."""

    name = "bulk_command.ended"

    state: str
    done: int
    left_out: int


class RemoteControlPolicyChanged(DomainEvent):
    """`changes` has what was allowed and what is."""

    name = "remote_control.policy_changed"


class CommandKeyReplaced(DomainEvent):
    """`thumbprint` is the new key's (RFC 7638)."""

    name = "remote_control.key_replaced"

    thumbprint: str
