"""What happens to alerts and to the rules that open them."""

from dataclasses import dataclass
from typing import ClassVar

from events.services.outbox import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFact(Fact):
    """`device_id` is None for an incident, which is about many."""

    alert_id: str
    severity: str
    title: str
    devices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertOpened(AlertFact):
    """Something was found that a person should know of."""

    name: ClassVar = "alert.opened"

    kind: str
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEscalated(AlertFact):
    """It has become worse; `changes` says from which severity."""

    name: ClassVar = "alert.escalated"

    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertAcknowledged(AlertFact):
    """A member has seen it."""

    name: ClassVar = "alert.acknowledged"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertAssigned(AlertFact):
    """A member is to see to it; `changes` says who, and who was before."""

    name: ClassVar = "alert.assigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertCommented(AlertFact):
    """A member had something to say of it."""

    name: ClassVar = "alert.commented"

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertClosed(AlertFact):
    """It is over; `closing` says why."""

    name: ClassVar = "alert.closed"

    closing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCreated(Fact):
    """A rule is there."""

    name: ClassVar = "rule.created"

    rule_id: str
    rule_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleUpdated(Fact):
    """A rule, or what is different for a tag or a device, was changed."""

    name: ClassVar = "rule.updated"

    rule_id: str
    rule_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDeleted(Fact):
    """A rule is gone, and its alerts with it."""

    name: ClassVar = "rule.deleted"

    rule_id: str
    rule_name: str
