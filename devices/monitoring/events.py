"""What happens to alerts and to the rules that open them."""

from events.domain_events import DomainEvent


class AlertEvent(DomainEvent):
    """`device_id` is None for an incident, which is about many."""

    alert_id: str
    severity: str
    title: str
    devices: int = 1


class AlertOpened(AlertEvent):
    """Something was found that a person should know of."""

    name = "alert.opened"

    kind: str
    value: float | None


class AlertEscalated(AlertEvent):
    """It has become worse; `changes` says from which severity."""

    name = "alert.escalated"

    value: float | None


class AlertAcknowledged(AlertEvent):
    """A member has seen it."""

    name = "alert.acknowledged"


class AlertAssigned(AlertEvent):
    """A member is to see to it; `changes` says who, and who was before."""

    name = "alert.assigned"


class AlertCommented(AlertEvent):
    """A member had something to say of it."""

    name = "alert.commented"

    text: str


class AlertClosed(AlertEvent):
    """It is over; `closing` says why."""

    name = "alert.closed"

    closing: str


class RuleCreated(DomainEvent):
    """A rule is there."""

    name = "rule.created"

    rule_id: str
    rule_name: str


class RuleUpdated(DomainEvent):
    """A rule, or what is different for a tag or a device, was changed."""

    name = "rule.updated"

    rule_id: str
    rule_name: str


class RuleDeleted(DomainEvent):
    """A rule is gone, and its alerts with it."""

    name = "rule.deleted"

    rule_id: str
    rule_name: str
