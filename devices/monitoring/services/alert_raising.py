"""Open alerts for devices that violate rules, reopen those that closed a moment ago, escalate."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from devices.metrics.measures import MEASURE
from devices.monitoring.conditions import COMPARE
from devices.monitoring.events import AlertEscalated
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.queries import Violation
from devices.monitoring.services import flapping
from devices.monitoring.services.alert_events import event_fields, opened_event, reopened_event
from events.domain_events import Changes
from events.services.outbox import record
from events.severity import Severity

BATCH = 5_000  # alerts in one transaction
REOPENED_FIELDS = (
    "settled_at",
    "closed_at",
    "closed_by",
    "closing",
    "reopened_at",
    "since",
    "value",
    "title",
    "occurrences",
    "severity",
)
Kind = MonitoringRule.Kind


@dataclass(frozen=True, slots=True)
class Cause:
    """A violation, with its rule and the severity of its alert."""

    rule: MonitoringRule
    violation: Violation
    severity: str

    @property
    def title(self) -> str:
        return alert_title(self.rule, self.violation.value)


def alert_title(rule: MonitoringRule, value: float | None) -> str:
    """Return a one-line alert title. Without a value, the title ends with "no data"."""
    if value is None:
        return f"{rule.name}: no data"[:200]
    match rule.kind:
        case Kind.METRIC:
            text = f"{value:.4g} {MEASURE[rule.measure].unit}".strip()
        case Kind.SILENCE:
            text = f"silent for {value:,.0f} min"
        case Kind.DRIFT:
            text = f"not applied for {value:,.0f} min"
        case _:
            text = f"expires in {value:.0f} days" if value > 0 else "expired"
    return f"{rule.name}: {text}"[:200]


def raise_alerts(
    rules: Mapping[UUID, MonitoringRule], violations: Sequence[Violation], *, now: datetime
) -> tuple[int, int]:
    """Open an alert for each violation, or reopen the one that closed a moment ago.

    The violations may be of several tenants.

    Args:
        rules: the rules of the violations, by id.

    Returns:
        The number of opened alerts and the number of reopened alerts.
    """
    opened = reopened = 0
    for start in range(0, len(violations), BATCH):
        # Sorted, so that concurrent evaluations insert rows in the same order.
        batch = sorted(violations[start : start + BATCH], key=lambda item: item.device_id)
        causes: dict[Any, Cause] = {
            (item.rule_id, item.device_id): _cause(rules[item.rule_id], item) for item in batch
        }
        with transaction.atomic():
            alerts = flapping.lock_alerts_to_reopen(rules, causes, now=now)
            recurring = [(alert, causes.pop((alert.rule_id, alert.device_id))) for alert in alerts]
            _reopen(recurring, now)
            opened += _open(causes.values(), now)
        reopened += len(recurring)
    return opened, reopened


def escalate(values: Mapping[UUID, float | None], *, now: datetime) -> int:
    """Raise the severities of open alerts. Return the number of escalated alerts.

    Args:
        values: the new values of alerts beyond their escalation threshold, by alert id.
    """
    ids = sorted(values)
    batches = (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
    return sum(_escalate(batch, values, now) for batch in batches)


def _cause(rule: MonitoringRule, violation: Violation) -> Cause:
    """Raise a violation's severity if its value is already beyond the escalation threshold."""
    is_escalated = (
        rule.escalation_threshold is not None
        and violation.value is not None
        and COMPARE[rule.operator](violation.value, rule.escalation_threshold)
        and Severity(rule.escalation_severity).exceeds(violation.severity)
    )
    return Cause(rule, violation, rule.escalation_severity if is_escalated else violation.severity)


def _reopen(recurring: Sequence[tuple[Alert, Cause]], now: datetime) -> None:
    for alert, cause in recurring:
        alert.settled_at, alert.closed_at, alert.closing = None, None, ""
        alert.closed_by = None
        alert.reopened_at, alert.since = now, cause.violation.since
        alert.value, alert.title = cause.violation.value, cause.title
        alert.occurrences += 1
        if Severity(cause.severity).exceeds(alert.severity):
            alert.severity = cause.severity
    alerts = [alert for alert, _ in recurring]
    Alert.every_tenant.bulk_update(alerts, REOPENED_FIELDS, batch_size=1000)
    record(reopened_event(alert, now) for alert in alerts)


def _open(causes: Iterable[Cause], now: datetime) -> int:
    alerts = [
        Alert(
            tenant_id=cause.rule.tenant_id,
            kind=cause.rule.kind,
            rule=cause.rule,
            device_id=cause.violation.device_id,
            severity=cause.severity,
            title=cause.title,
            value=cause.violation.value,
            since=cause.violation.since,
            opened_at=now,
        )
        for cause in causes
    ]
    Alert.every_tenant.bulk_create(alerts, ignore_conflicts=True)
    ids = [alert.pk for alert in alerts]
    inserted = set(Alert.every_tenant.filter(pk__in=ids).values_list("pk", flat=True))
    new = [alert for alert in alerts if alert.pk in inserted]
    record(opened_event(alert) for alert in new)
    return len(new)


@transaction.atomic
def _escalate(alert_ids: Sequence[UUID], values: Mapping[UUID, float | None], now: datetime) -> int:
    alerts = Alert.every_tenant.open().filter(pk__in=alert_ids).select_related("rule")
    escalated, events = [], []
    for alert in alerts.order_by("pk").select_for_update(skip_locked=True, of=("self",)):
        assert alert.rule is not None
        severity = alert.rule.escalation_severity
        if not severity or not Severity(severity).exceeds(alert.severity):
            continue  # a concurrent evaluation escalated it
        before, alert.severity = alert.severity, severity
        alert.value = values[alert.pk]
        alert.title = alert_title(alert.rule, alert.value)
        escalated.append(alert)
        changes: Changes = {"severity": (before, severity)}
        fields = event_fields(alert, now)
        events.append(AlertEscalated(**fields, value=alert.value, changes=changes))
    Alert.every_tenant.bulk_update(escalated, ["severity", "value", "title"], batch_size=1000)
    record(events)
    return len(escalated)
