"""A pass over the rules: alerts are opened, escalated, and closed when the cause is gone."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from django.db import DatabaseError, transaction

from devices.metrics.measures import MEASURE
from devices.monitoring.conditions import HOLDS
from devices.monitoring.events import AlertEscalated
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.services import alert_closing, incidents
from devices.monitoring.services.alert_events import about, opened
from devices.monitoring.services.rules import hours_of
from devices.monitoring.services.violations import Found, Watch, no_data_after
from events.domain_events import Changes
from events.services.outbox import record
from events.severity import Severity

logger = logging.getLogger(__name__)

BATCH = 5_000  # alerts in one transaction
Kind = MonitoringRule.Kind


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a pass came to."""

    opened: int = 0
    escalated: int = 0
    closed: int = 0

    def __add__(self, other: "Evaluated") -> "Evaluated":
        return Evaluated(
            self.opened + other.opened,
            self.escalated + other.escalated,
            self.closed + other.closed,
        )


def evaluate_all(
    *, now: datetime, device_ids: Collection[UUID] | None = None
) -> Evaluated:
    """One pass over the current tenant's rules, about all devices or about some.

    Runs beside itself without harm: the database has one alert for a rule and a device.
    """
    rules = MonitoringRule.objects.switched_on()
    if device_ids is not None:  # what they have just said is no more than this
        rules = rules.filter(kind=Kind.METRIC)
    else:
        incidents.settle(now=now)
    total = Evaluated()
    for rule in rules:
        try:
            total += evaluate(rule, now=now, device_ids=device_ids)
        except DatabaseError:  # one rule's trouble is not that of the others
            logger.exception("A rule failed", extra={"rule": str(rule.pk)})
    if device_ids is None:
        total += Evaluated(closed=_close_unwatched(now))
    return total


def evaluate(
    rule: MonitoringRule, *, now: datetime, device_ids: Collection[UUID] | None = None
) -> Evaluated:
    """One pass over one rule of the current tenant."""
    watch = Watch(rule, now=now, device_ids=device_ids)
    gone = Alert.Closing.CAUSE_GONE
    closed = alert_closing.settle(watch.to_settle(), closing=gone, now=now)
    if device_ids is None:
        left = Alert.Closing.NOT_WATCHED
        closed += alert_closing.settle(watch.not_watched(), closing=left, now=now)
    escalated = _escalate(watch, now)
    if not hours_of(rule).include(now):
        return Evaluated(0, escalated, closed)
    found, silent = watch.to_open(), watch.to_open_without_data()
    threshold = no_data_after()
    if rule.kind == Kind.SILENCE:
        found, silent = [], found
        threshold = timedelta(minutes=rule.threshold)
    if silent:
        found += incidents.absorb(silent, threshold=threshold, now=now)
    return Evaluated(_open(rule, found, now), escalated, closed)


def _close_unwatched(now: datetime) -> int:
    """What a rule opened in the moment in which it was switched off."""
    on = MonitoringRule.objects.switched_on()
    left = Alert.objects.unsettled().filter(rule__isnull=False).exclude(rule__in=on)
    return alert_closing.settle(left, closing=Alert.Closing.NOT_WATCHED, now=now)


def title_of(rule: MonitoringRule, value: float | None) -> str:
    """One line for a list or a mail."""
    if value is None:
        return f"{rule.name}: no data"[:200]
    match rule.kind:
        case Kind.METRIC:
            said = f"{value:.4g} {MEASURE[rule.measure].unit}".strip()
        case Kind.SILENCE:
            said = f"silent for {value:,.0f} min"
        case Kind.DRIFT:
            said = f"not applied for {value:,.0f} min"
        case _:
            said = f"ends in {value:.0f} days" if value > 0 else "has ended"
    return f"{rule.name}: {said}"[:200]


def _open(rule: MonitoringRule, found: list[Found], now: datetime) -> int:
    opened = 0
    found = sorted(found, key=lambda one: one.device_id)  # two passes in one order
    for start in range(0, len(found), BATCH):
        opened += _open_batch(rule, found[start : start + BATCH], now)
    return opened


@transaction.atomic
def _open_batch(rule: MonitoringRule, found: list[Found], now: datetime) -> int:
    alerts = [
        Alert(
            kind=rule.kind,
            rule=rule,
            device_id=reason.device_id,
            severity=reason.severity,
            title=title_of(rule, reason.value),
            value=reason.value,
            since=reason.since,
            opened_at=now,
        )
        for reason in (_weighed(rule, reason) for reason in found)
    ]
    Alert.objects.bulk_create(alerts, ignore_conflicts=True)
    ids = [alert.pk for alert in alerts]
    made = set(Alert.objects.filter(pk__in=ids).values_list("pk", flat=True))
    new = [alert for alert in alerts if alert.pk in made]
    record(opened(alert) for alert in new)
    return len(new)


@transaction.atomic
def _escalate(watch: Watch, now: datetime) -> int:
    severity = watch.rule.escalation_severity
    worse = {alert.pk: value for alert, value in watch.to_escalate()}
    if not worse:
        return 0
    held = Alert.objects.open().filter(pk__in=worse).order_by("pk")
    escalated, facts = [], []
    for alert in held.select_for_update(skip_locked=True, of=("self",)):
        if not Severity(severity).exceeds(alert.severity):
            continue  # somebody else was quicker
        before, alert.severity = alert.severity, severity
        alert.value = worse[alert.pk]
        alert.title = title_of(watch.rule, alert.value)
        escalated.append(alert)
        changes: Changes = {"severity": (before, severity)}
        said = about(alert, now)
        facts.append(AlertEscalated(**said, value=alert.value, changes=changes))
    fields = ["severity", "value", "title"]
    Alert.objects.bulk_update(escalated, fields, batch_size=1000)
    record(facts)
    return len(escalated)


def _weighed(rule: MonitoringRule, reason: Found) -> Found:
    """At once as severe as it is, if it is beyond the second threshold already."""
    beyond = (
        rule.escalation_threshold is not None
        and reason.value is not None
        and HOLDS[rule.operator](reason.value, rule.escalation_threshold)
        and Severity(rule.escalation_severity).exceeds(reason.severity)
    )
    return replace(reason, severity=rule.escalation_severity) if beyond else reason
