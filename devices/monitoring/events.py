"""Domain events of alerts and rules."""

from datetime import datetime
from typing import ClassVar

from events.domain_events import DomainEvent


class AlertEvent(DomainEvent):
    """Base of alert events; `device_id` is None for an incident of many devices."""

    link = ("alert_id", "admin:monitoring_alert_change")

    alert_id: str
    severity: str
    title: str
    devices: int = 1


class AlertOpened(AlertEvent):
    """An alert was opened."""

    name = "alert.opened"

    kind: str
    value: float | None


class AlertEscalated(AlertEvent):
    """The severity of an alert was raised. `changes` contains the old and new severity."""

    name = "alert.escalated"

    value: float | None


class AlertReopened(AlertEvent):
    """The cause of a closed alert returned. `occurrences` is how often the alert was open."""

    name = "alert.reopened"

    value: float | None
    occurrences: int


class AlertAcknowledged(AlertEvent):
    """A member acknowledged an alert."""

    name = "alert.acknowledged"


class AlertAssigned(AlertEvent):
    """The assignee of an alert changed. `changes` contains the old and new assignee."""

    name = "alert.assigned"


class AlertCommented(AlertEvent):
    """A member commented on an alert."""

    name = "alert.commented"

    text: str


class AlertClosed(AlertEvent):
    """An alert was closed; `closing` is the reason."""

    name = "alert.closed"

    closing: str


class RuleEvent(DomainEvent):
    """Base of events about rules."""

    link: ClassVar[tuple[str, str] | None] = ("rule_id", "admin:monitoring_monitoringrule_change")

    rule_id: str
    rule_name: str


class RuleCreated(RuleEvent):
    """A rule was created."""

    name = "rule.created"


class RuleUpdated(RuleEvent):
    """A rule, or one of its overrides, was changed."""

    name = "rule.updated"


class RuleDeleted(RuleEvent):
    """A rule was deleted. Its alerts stay readable."""

    name = "rule.deleted"
    link = None


class EvaluationLate(DomainEvent):
    """Rules were not evaluated for minutes, because the workers are too slow or do not run.

    The event belongs to the installation, not to a tenant.
    """

    name = "monitoring.evaluation_late"

    rules: str  # their kind, measure, operator and scope
    last_at: datetime  # of the last evaluation
