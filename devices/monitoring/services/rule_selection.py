"""Select the rules that must be evaluated, with a few statements for the rules of all tenants.

At most times, most rules have nothing to open, settle or escalate. With many tenants, the
statements of each rule would take nearly all the time of an evaluation. So the rules of all
tenants with the same shape (kind, measure and operator) are compared with all devices at once.
This selects too many rules, because scope and duration are not compared, but never too few.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from certificates.models import DeviceCertificate
from devices.metrics.measures import MEASURE
from devices.metrics.models import LatestMetrics
from devices.monitoring.extension_points import configuration_drifts
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.monitoring.services.violations import max_sample_age
from devices.registry.models import Device

Kind = MonitoringRule.Kind
OPERATORS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
MAX_THRESHOLD = 1e7  # larger ones may be no interval; their rules are evaluated one by one

_TABLES = {
    "alerts": Alert._meta.db_table,
    "certificates": DeviceCertificate._meta.db_table,
    "devices": Device._meta.db_table,
    "latest": LatestMetrics._meta.db_table,
}
_RULES = """
    unnest(%(ids)s::uuid[], %(tenants)s::uuid[], %(bounds)s::float8[], %(escalations)s::float8[],
        %(severities)s::varchar[], %(no_data)s::varchar[])
    AS rule (id, tenant_id, bound, escalation, escalation_severity, no_data)
"""
_WATCHED = "device.status <> 'retired' AND device.quarantined_at IS NULL"
# Rules with a device that has no alert of the rule, and that `condition` applies to.
_VIOLATED = f"""
    SELECT DISTINCT rule.id FROM {_RULES}
    JOIN {{devices}} AS device ON device.tenant_id = rule.tenant_id AND {_WATCHED}
    LEFT JOIN {{source}}
    WHERE {{condition}} AND NOT EXISTS (
        SELECT FROM {{alerts}} AS alert
        WHERE alert.rule_id = rule.id AND alert.device_id = device.id AND alert.settled_at IS NULL
    )
"""
# Rules with an alert whose cause is gone, or that is to be escalated.
_CHANGED = f"""
    SELECT DISTINCT rule.id FROM {_RULES}
    JOIN {{alerts}} AS alert ON alert.rule_id = rule.id AND alert.settled_at IS NULL
    JOIN {{devices}} AS device ON device.id = alert.device_id
    LEFT JOIN {{source}}
    WHERE NOT coalesce({_WATCHED} AND (({{condition}}) OR {{kept}}), false) OR coalesce(
        ({{escalated}}) AND alert.closed_at IS NULL
        AND alert.severity <> rule.escalation_severity, false
    )
"""


@dataclass(frozen=True, slots=True)
class Needs:
    """What an evaluation of a rule has to look at."""

    alerts: bool  # the rule has alerts that may have to be settled or escalated
    violations: bool  # a device without an alert may violate the rule


EVERYTHING = Needs(alerts=True, violations=True)


class _Rule(NamedTuple):
    pk: UUID
    tenant_id: UUID
    kind: str
    measure: str
    operator: str
    threshold: float
    escalation_threshold: float | None
    escalation_severity: str
    no_data: str
    scope: str


class _Shape(NamedTuple):
    """What the statements of a rule depend on."""

    kind: str
    measure: str
    operator: str

    def source(self) -> str:
        """Return the joined table with the observed value."""
        if self.kind == Kind.CERTIFICATE:
            return """(
                SELECT device_id, max(not_after) AS not_after FROM {certificates}
                WHERE status IN ('active', 'expired') GROUP BY device_id
            ) AS newest ON newest.device_id = device.id"""
        return "{latest} AS latest ON latest.device_id = device.id"

    def condition(self, bound: str) -> str:
        """Return when a device is beyond a column of the rule."""
        operator = OPERATORS[self.operator]
        match self.kind:
            case Kind.METRIC:
                assert self.measure in MEASURE
                is_recent = "latest.recorded_at > %(since)s"
                return f"{is_recent} AND latest.{self.measure} {operator} {bound}"
            case Kind.SILENCE:
                return f"device.last_seen <= %(now)s - {bound} * interval '1 minute'"
            case _:
                limit = f"%(now)s + {bound} * interval '1 day'"
                return f"newest.not_after {operator} {limit}"

    def kept(self) -> str:
        """Return when an alert stays as it is although its device is not beyond the limit."""
        if self.kind != Kind.METRIC:
            return "false"
        return "rule.no_data <> 'close' AND coalesce(latest.recorded_at <= %(since)s, true)"

    def without_data(self) -> str:
        """Return when a device has no recent value, although it is not new."""
        return (
            "rule.no_data = 'open' AND device.registered_at <= %(since)s AND NOT coalesce("
            f"latest.recorded_at > %(since)s AND latest.{self.measure} IS NOT NULL, false)"
        )


def select_rules(*, now: datetime) -> dict[UUID, dict[UUID, Needs]]:
    """Return what to evaluate, by tenant and rule. It is called in the scope of all tenants.

    A tenant without such a rule is included if it has an incident, or alerts of a disabled rule.
    """
    rows = MonitoringRule.every_tenant.enabled().order_by().values_list(*_Rule._fields)
    rules = {row[0]: _Rule(*row) for row in rows}
    alerts = Alert.every_tenant.unsettled().order_by()
    alerted: set[Any] = set(alerts.values_list("rule_id", flat=True).distinct())
    thresholds = _thresholds(rules)
    shapes = defaultdict(list)
    for rule in rules.values():
        shapes[_Shape(rule.kind, rule.measure, rule.operator)].append(rule)
    changed, violated = set(), set()
    for shape, group in shapes.items():
        changed |= _changed(shape, group, thresholds, alerted, now)
        violated |= _violated(shape, group, thresholds, now)
    others = alerts.exclude(rule__in=rules).values_list("tenant_id", flat=True).distinct()
    selected: dict[UUID, dict[UUID, Needs]] = {tenant_id: {} for tenant_id in others}
    for pk in changed | violated:
        needs = Needs(alerts=pk in changed, violations=pk in violated)
        selected.setdefault(rules[pk].tenant_id, {})[pk] = needs
    return selected


def _thresholds(rules: Collection[UUID]) -> dict[UUID, list[float]]:
    """Return the thresholds of the overrides of each rule."""
    thresholds: dict[UUID, list[float]] = {}
    overrides = RuleOverride.every_tenant.order_by().values_list("rule_id", "threshold")
    for rule_id, threshold in overrides:
        if rule_id in rules:
            values = thresholds.setdefault(rule_id, [])
            values += [] if threshold is None else [threshold]
    return thresholds


def _changed(
    shape: _Shape,
    rules: Collection[_Rule],
    thresholds: Mapping[UUID, list[float]],
    alerted: Collection[UUID],
    now: datetime,
) -> set[UUID]:
    """Return the rules whose alerts may have to be settled or escalated."""
    with_alerts = [rule for rule in rules if rule.pk in alerted]
    # What happens to the alerts of the others depends on scopes, overrides and drifts.
    compared = {
        rule.pk: rule
        for rule in with_alerts
        if rule.scope == "all" and rule.pk not in thresholds and _is_comparable(rule, [])
    }
    changed = {rule.pk for rule in with_alerts} - compared.keys()
    bounds = [rule.threshold for rule in compared.values()]
    return changed | _run(_CHANGED, shape, list(compared.values()), bounds, now)


def _violated(
    shape: _Shape, rules: Collection[_Rule], thresholds: Mapping[UUID, list[float]], now: datetime
) -> set[UUID]:
    """Return the rules that a device without an alert may violate."""
    if shape.kind == Kind.DRIFT:
        (drifts,) = configuration_drifts
        tenants = set(drifts().order_by().values_list("tenant_id", flat=True).distinct())
        return {rule.pk for rule in rules if rule.tenant_id in tenants}
    compared, bounds = [], []
    for rule in rules:
        if _is_comparable(rule, thresholds.get(rule.pk, ())):
            values = [rule.threshold, *thresholds.get(rule.pk, ())]
            is_upper = shape.kind == Kind.SILENCE or shape.operator in ("gt", "ge")
            compared.append(rule)
            bounds.append(min(values) if is_upper else max(values))
    violated = {rule.pk for rule in rules} - {rule.pk for rule in compared}
    return violated | _run(_VIOLATED, shape, compared, bounds, now)


def _is_comparable(rule: _Rule, overrides: Collection[float]) -> bool:
    """Return False for drifts, and for thresholds that PostgreSQL cannot convert to a time."""
    if rule.kind in (Kind.METRIC, Kind.DRIFT):
        return rule.kind == Kind.METRIC
    values = (rule.threshold, rule.escalation_threshold or 0, *overrides)
    return all(abs(value) <= MAX_THRESHOLD for value in values)


def _run(
    statement: str, shape: _Shape, rules: Sequence[_Rule], bounds: list[float], now: datetime
) -> set[UUID]:
    if not rules:
        return set()
    source = shape.source().format(**_TABLES)
    condition = shape.condition("rule.bound")
    if statement is _VIOLATED and shape.kind == Kind.METRIC:
        condition = f"({condition} OR {shape.without_data()})"
    sql = statement.format(
        **_TABLES,
        source=source,
        condition=condition,
        kept=shape.kept(),
        escalated=shape.condition("rule.escalation"),
    )
    values: dict[str, Any] = {
        "ids": [str(rule.pk) for rule in rules],
        "tenants": [str(rule.tenant_id) for rule in rules],
        "bounds": bounds,
        "escalations": [rule.escalation_threshold for rule in rules],
        "severities": [rule.escalation_severity for rule in rules],
        "no_data": [rule.no_data for rule in rules],
        "now": now,
        "since": now - max_sample_age(),
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return {row[0] for row in cursor.fetchall()}
