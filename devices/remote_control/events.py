"""What happens when devices are controlled. Gestures are in the command history alone."""

from dataclasses import dataclass
from typing import ClassVar

from events.services.outbox import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFact(Fact):
    """`session` is an id."""

    session: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteControlStarted(SessionFact):
    name: ClassVar = "remote_control.started"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteControlEnded(SessionFact):
    """`end` says how: `by_hand`, `idle`, `offline`, `administrator` or `device`."""

    name: ClassVar = "remote_control.ended"

    controller: str
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandFact(Fact):
    """`command` is an id; `type` is like `reboot`."""

    command: str
    type: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandIssued(CommandFact):
    name: ClassVar = "command.issued"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnded(CommandFact):
    """`status` is the last one; `reason` says why it is not `succeeded`."""

    name: ClassVar = "command.ended"

    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkCommandFact(Fact):
    """`bulk` is an id; `found` is how many devices the filter found at first."""

    bulk: str
    type: str
    found: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkCommandRequested(BulkCommandFact):
    """`needs_confirmation`: it waits for a second person."""

    name: ClassVar = "bulk_command.requested"

    needs_confirmation: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkCommandConfirmed(BulkCommandFact):
    name: ClassVar = "bulk_command.confirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkCommandEnded(BulkCommandFact):
    """`state` is `finished`, `cancelled` or `lapsed`."""

    name: ClassVar = "bulk_command.ended"

    state: str
    done: int
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteControlPolicyChanged(Fact):
    """`changes` has what was allowed and what is."""

    name: ClassVar = "remote_control.policy_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandKeyReplaced(Fact):
    """`thumbprint` is the new key's (RFC 7638)."""

    name: ClassVar = "remote_control.key_replaced"

    thumbprint: str
