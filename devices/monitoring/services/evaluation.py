"""Evaluate the rules of all tenants: raise alerts, and settle them when their cause is gone.

The rules with the same form are evaluated together, see `queries`. So the price of an
evaluation depends on the number of devices, not on the number of tenants and rules.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from operator import add
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, OperationalError

from devices.maintenance.models import MaintenanceWindow
from devices.maintenance.services.open_windows import OpenWindow, open_windows
from devices.monitoring import queries
from devices.monitoring.conditions import max_sample_age
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.queries import ComparedRule, Violation
from devices.monitoring.rule_statements import RuleForm
from devices.monitoring.services import alert_closing, alert_raising, incidents
from devices.monitoring.services.rules import opening_hours
from devices.registry.models import Device
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Tenant

logger = logging.getLogger(__name__)

Kind = MonitoringRule.Kind
Rules = dict[UUID, MonitoringRule]


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """How many alerts an evaluation opened, escalated, closed and reopened."""

    opened: int = 0
    escalated: int = 0
    closed: int = 0
    reopened: int = 0

    def __add__(self, other: "EvaluationResult") -> "EvaluationResult":
        return EvaluationResult(*map(add, astuple(self), astuple(other)))


def evaluate_all(*, now: datetime) -> EvaluationResult:
    """Evaluate all rules of all tenants once, in this process."""
    with every_tenant_scope():
        forms = queries.forms()
    return sum((evaluate(form, now=now) for form in forms), start=update_others(now=now))


def evaluate_devices(device_ids: Collection[UUID], *, now: datetime) -> EvaluationResult:
    """Evaluate the metric rules for some devices of any tenants, after new samples of them."""
    with every_tenant_scope():
        forms = [form for form in queries.forms() if form.kind == Kind.METRIC]
    results = (evaluate(form, now=now, device_ids=device_ids) for form in forms)
    return sum(results, start=EvaluationResult())


def evaluate(
    form: RuleForm, *, now: datetime, device_ids: Collection[UUID] | None = None
) -> EvaluationResult:
    """Evaluate the rules of all tenants that have a form.

    Concurrent calls are safe, because a database constraint allows only one unsettled
    alert for a rule and a device.

    Args:
        device_ids: the devices to evaluate; None for all devices.
    """
    with every_tenant_scope():
        rules = queries.rules_of(form)
        others = [rule.id for rule in rules if not rule.is_always_open]
        rules_with_hours = MonitoringRule.every_tenant.filter(pk__in=others)
        closed = {str(rule.pk) for rule in rules_with_hours if not opening_hours(rule).include(now)}
        holding = MaintenanceWindow.every_tenant.filter(holds_alerts=True)
        if device_ids is not None:
            tenants = Device.every_tenant.filter(pk__in=device_ids).values("tenant_id")
            holding = holding.filter(tenant_id__in=tenants)
        maintenance = [*open_windows(holding, now=now), *_of_suspended_tenants()]
        return _Run(form, now, device_ids, closed, maintenance).evaluate(rules)


def _of_suspended_tenants() -> Iterator[OpenWindow]:
    """Yield a window for each suspended tenant, whose devices are refused and raise no alerts."""
    for pk in Tenant.objects.filter(suspended_at__isnull=False).values_list("pk", flat=True):
        window = MaintenanceWindow(tenant_id=pk, scope=MaintenanceWindow.Scope.ALL)
        yield OpenWindow(window, None, None)


def update_others(*, now: datetime) -> EvaluationResult:
    """Update the incidents, and settle alerts of disabled rules, of all tenants.

    An alert may open while its rule is being disabled.
    """
    with every_tenant_scope():
        for incident in Alert.every_tenant.unsettled().incidents():
            try:
                with tenant_scope(incident.tenant_id):
                    incidents.update_incident(incident, now=now)
            except OperationalError:
                raise
            except DatabaseError:  # the incidents of other tenants must still be updated
                logger.exception("Updating an incident failed", extra={"alert": str(incident.pk)})
        alerts = Alert.every_tenant.unsettled().filter(rule__isnull=False)
        ids = alerts.exclude(rule__in=MonitoringRule.every_tenant.enabled()).values_list("pk")
        closed = alert_closing.settle_alerts(
            [pk for (pk,) in ids], closing=Alert.Closing.NOT_WATCHED, now=now
        )
    return EvaluationResult(closed=closed)


@dataclass(frozen=True, slots=True)
class _Run:
    """An evaluation of the rules of a form."""

    form: RuleForm
    now: datetime
    device_ids: Collection[UUID] | None
    closed: Collection[str]  # ids of rules outside of their opening hours; they open no alerts
    maintenance: Sequence[OpenWindow]  # their devices open no alerts

    def evaluate(self, rules: Sequence[ComparedRule]) -> EvaluationResult:
        """Evaluate the rules. If that fails, find the rule that fails, and evaluate the others."""
        try:
            return self._update_alerts(rules) + self._raise_alerts(rules)
        except DatabaseError as error:
            if isinstance(error, OperationalError) or not rules:
                raise
            if len(rules) == 1:
                logger.exception("Evaluating a rule failed", extra={"rule": rules[0].id})
                return EvaluationResult()
        middle = len(rules) // 2
        return self.evaluate(rules[:middle]) + self.evaluate(rules[middle:])

    def _update_alerts(self, rules: Collection[ComparedRule]) -> EvaluationResult:
        """Settle the alerts whose cause is gone, and escalate others."""
        values = {}
        ids = defaultdict(list)
        changes = queries.changes(
            self.form, rules, now=self.now, device_ids=self.device_ids, maintenance=self.maintenance
        )
        for alert_id, change, value in changes:
            ids[change].append(alert_id)
            values[alert_id] = value
        closed = sum(
            alert_closing.settle_alerts(ids[closing], closing=closing, now=self.now)
            for closing in (Alert.Closing.CAUSE_GONE, Alert.Closing.NOT_WATCHED)
        )
        escalated = alert_raising.escalate(
            {alert_id: values[alert_id] for alert_id in ids["escalated"]}, now=self.now
        )
        return EvaluationResult(closed=closed, escalated=escalated)

    def _raise_alerts(self, rules: Collection[ComparedRule]) -> EvaluationResult:
        violations = queries.violations(
            self.form,
            [rule for rule in rules if rule.id not in self.closed],
            now=self.now,
            device_ids=self.device_ids,
            maintenance=self.maintenance,
        )
        violated = MonitoringRule.every_tenant.in_bulk({item.rule_id for item in violations})
        violations = [item for item in violations if item.rule_id in violated]
        silent = [
            item for item in violations if self.form.kind == Kind.SILENCE or item.value is None
        ]
        if silent:
            alone = set(self._without_incidents(silent, violated))
            joined = set(silent) - alone
            violations = [item for item in violations if item not in joined]
        opened, reopened = alert_raising.raise_alerts(violated, violations, now=self.now)
        return EvaluationResult(opened=opened, reopened=reopened)

    def _without_incidents(self, silent: Iterable[Violation], rules: Rules) -> Iterable[Violation]:
        """Put devices that fell silent together into incidents. Yield the others."""
        tenants = set(
            Alert.every_tenant.unsettled().incidents().values_list("tenant_id", flat=True)
        )
        by_rule = defaultdict(list)
        for item in silent:
            by_rule[item.rule_id].append(item)
        for rule_id, items in by_rule.items():
            rule = rules[rule_id]
            if rule.tenant_id not in tenants and len(items) < settings.FLEET_SILENCE_MINIMUM:
                yield from items
                continue
            is_silence = rule.kind == Kind.SILENCE
            threshold = timedelta(minutes=rule.threshold) if is_silence else max_sample_age()
            with tenant_scope(rule.tenant_id):
                yield from incidents.group_into_incident(items, threshold=threshold, now=self.now)
