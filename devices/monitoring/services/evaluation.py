"""Evaluate rules: open, reopen and escalate alerts; close them when their cause is gone."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta
from operator import add
from uuid import UUID

from django.db import DatabaseError, transaction

from devices.metrics.measures import MEASURE
from devices.monitoring.conditions import COMPARE
from devices.monitoring.events import AlertEscalated
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.services import alert_closing, flapping, incidents
from devices.monitoring.services.alert_events import event_fields, opened_event, reopened_event
from devices.monitoring.services.rule_selection import EVERYTHING, Needs
from devices.monitoring.services.rules import opening_hours
from devices.monitoring.services.violations import RuleQueries, Violation, max_sample_age
from events.domain_events import Changes
from events.services.outbox import record
from events.severity import Severity

logger = logging.getLogger(__name__)

BATCH = 5_000  # alerts in one transaction
REOPENED_FIELDS = (
    "settled_at",
    "closed_at",
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
class EvaluationResult:
    """How many alerts an evaluation opened, escalated, closed and reopened."""

    opened: int = 0
    escalated: int = 0
    closed: int = 0
    reopened: int = 0

    def __add__(self, other: "EvaluationResult") -> "EvaluationResult":
        return EvaluationResult(*map(add, astuple(self), astuple(other)))


def evaluate_all(
    *,
    now: datetime,
    device_ids: Collection[UUID] | None = None,
    needs: Mapping[UUID, Needs] | None = None,
) -> EvaluationResult:
    """Evaluate the enabled rules of the current tenant once.

    Concurrent calls are safe, because a database constraint allows only one unsettled
    alert for a rule and a device.

    Args:
        device_ids: the devices to evaluate, with metric rules only; None for all devices and
            all rules.
        needs: what to evaluate, by rule, see `rule_selection`; None for everything.
    """
    rules = MonitoringRule.objects.enabled()
    if device_ids is not None:  # their new samples affect metric rules only
        rules = rules.filter(kind=Kind.METRIC)
    else:
        incidents.update_incident(now=now)
    if needs is not None:
        rules = rules.filter(pk__in=needs)
    total = EvaluationResult()
    for rule in rules:
        rule_needs = EVERYTHING if needs is None else needs[rule.pk]
        try:
            total += evaluate(rule, now=now, device_ids=device_ids, needs=rule_needs)
        except DatabaseError:  # the other rules must still be evaluated
            logger.exception("Evaluating a rule failed", extra={"rule": str(rule.pk)})
    if device_ids is None:
        total += EvaluationResult(closed=_settle_alerts_of_disabled_rules(now))
    return total


def evaluate(
    rule: MonitoringRule,
    *,
    now: datetime,
    device_ids: Collection[UUID] | None = None,
    needs: Needs = EVERYTHING,
) -> EvaluationResult:
    """Evaluate one rule of the current tenant, for the given devices or for all."""
    queries = RuleQueries(rule, now=now, device_ids=device_ids)
    result = EvaluationResult()
    if needs.alerts:
        result += _update_alerts(queries, now)
    if needs.violations and opening_hours(rule).include(now):
        result += _raise_violations(queries, now)
    return result


def _update_alerts(queries: RuleQueries, now: datetime) -> EvaluationResult:
    """Settle the alerts whose cause is gone, and escalate the others."""
    closed = alert_closing.settle_alerts(
        queries.to_settle(), closing=Alert.Closing.CAUSE_GONE, now=now
    )
    if queries.device_ids is None:
        closed += alert_closing.settle_alerts(
            queries.not_watched(), closing=Alert.Closing.NOT_WATCHED, now=now
        )
    return EvaluationResult(escalated=_escalate(queries, now), closed=closed)


def _raise_violations(queries: RuleQueries, now: datetime) -> EvaluationResult:
    rule = queries.rule
    violations, silent = queries.to_open(), queries.to_open_without_data()
    silence_threshold = max_sample_age()
    if rule.kind == Kind.SILENCE:
        violations, silent = [], violations
        silence_threshold = timedelta(minutes=rule.threshold)
    if silent:
        violations += incidents.group_into_incident(silent, threshold=silence_threshold, now=now)
    return _raise_alerts(rule, violations, now)


def _settle_alerts_of_disabled_rules(now: datetime) -> int:
    """Settle alerts of disabled rules. An alert may open while its rule is being disabled."""
    enabled = MonitoringRule.objects.enabled()
    alerts = Alert.objects.unsettled().filter(rule__isnull=False)
    return alert_closing.settle_alerts(
        alerts.exclude(rule__in=enabled), closing=Alert.Closing.NOT_WATCHED, now=now
    )


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


def _raise_alerts(
    rule: MonitoringRule, violations: list[Violation], now: datetime
) -> EvaluationResult:
    """Open an alert for each violation, or reopen the one that closed a moment ago."""
    total = EvaluationResult()
    # Sorted, so that concurrent evaluations insert rows in the same order.
    violations = sorted(violations, key=lambda violation: violation.device_id)
    for start in range(0, len(violations), BATCH):
        batch: dict[UUID | None, Violation] = {
            violation.device_id: _with_escalation(rule, violation)
            for violation in violations[start : start + BATCH]
        }
        with transaction.atomic():
            alerts = flapping.lock_alerts_to_reopen(rule, batch, now=now)
            recurring = [(alert, batch.pop(alert.device_id)) for alert in alerts]
            _reopen(rule, recurring, now)
            opened = _open(rule, list(batch.values()), now)
        total += EvaluationResult(opened=opened, reopened=len(recurring))
    return total


def _reopen(rule: MonitoringRule, recurring: list[tuple[Alert, Violation]], now: datetime) -> None:
    for alert, violation in recurring:
        alert.settled_at, alert.closed_at, alert.closing = None, None, ""
        alert.reopened_at, alert.since = now, violation.since
        alert.value, alert.title = violation.value, alert_title(rule, violation.value)
        alert.occurrences += 1
        if Severity(violation.severity).exceeds(alert.severity):
            alert.severity = violation.severity
    alerts = [alert for alert, _ in recurring]
    Alert.objects.bulk_update(alerts, REOPENED_FIELDS, batch_size=1000)
    record(reopened_event(alert, now) for alert in alerts)


def _open(rule: MonitoringRule, violations: list[Violation], now: datetime) -> int:
    alerts = [
        Alert(
            kind=rule.kind,
            rule=rule,
            device_id=violation.device_id,
            severity=violation.severity,
            title=alert_title(rule, violation.value),
            value=violation.value,
            since=violation.since,
            opened_at=now,
        )
        for violation in violations
    ]
    Alert.objects.bulk_create(alerts, ignore_conflicts=True)
    ids = [alert.pk for alert in alerts]
    inserted = set(Alert.objects.filter(pk__in=ids).values_list("pk", flat=True))
    new = [alert for alert in alerts if alert.pk in inserted]
    record(opened_event(alert) for alert in new)
    return len(new)


@transaction.atomic
def _escalate(queries: RuleQueries, now: datetime) -> int:
    severity = queries.rule.escalation_severity
    values = {alert.pk: value for alert, value in queries.to_escalate()}
    if not values:
        return 0
    alerts = Alert.objects.open().filter(pk__in=values).order_by("pk")
    escalated, events = [], []
    for alert in alerts.select_for_update(skip_locked=True, of=("self",)):
        if not Severity(severity).exceeds(alert.severity):
            continue  # a concurrent evaluation escalated it
        before, alert.severity = alert.severity, severity
        alert.value = values[alert.pk]
        alert.title = alert_title(queries.rule, alert.value)
        escalated.append(alert)
        changes: Changes = {"severity": (before, severity)}
        fields = event_fields(alert, now)
        events.append(AlertEscalated(**fields, value=alert.value, changes=changes))
    Alert.objects.bulk_update(escalated, ["severity", "value", "title"], batch_size=1000)
    record(events)
    return len(escalated)


def _with_escalation(rule: MonitoringRule, violation: Violation) -> Violation:
    """Raise a violation's severity if its value is already beyond the escalation threshold."""
    is_escalated = (
        rule.escalation_threshold is not None
        and violation.value is not None
        and COMPARE[rule.operator](violation.value, rule.escalation_threshold)
        and Severity(rule.escalation_severity).exceeds(violation.severity)
    )
    if not is_escalated:
        return violation
    return replace(violation, severity=rule.escalation_severity)
