"""The text of the SQL that compares monitoring rules with devices, see `queries`."""

from typing import NamedTuple

from django.db import connection

from certificates.models import DeviceCertificate
from devices.maintenance.services.open_windows import IN_MAINTENANCE
from devices.metrics.measures import MEASURE
from devices.metrics.models import DeviceMetrics, LatestMetrics
from devices.monitoring.conditions import NEGATED
from devices.monitoring.extension_points import configuration_drifts
from devices.monitoring.models import Alert, IncidentDevice, MonitoringRule, RuleOverride
from devices.registry.models import Device, DeviceTag, Site, Tag
from events.severity import Severity

Kind = MonitoringRule.Kind
Scope = MonitoringRule.Scope
_OPERATORS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_MAX_INTERVAL = 1e7  # minutes or days; a larger threshold means the same, but may be no interval

_TABLES = {
    name: model._meta.db_table
    for name, model in {
        "alerts": Alert,
        "certificates": DeviceCertificate,
        "device_tags": DeviceTag,
        "devices": Device,
        "incident_devices": IncidentDevice,
        "latest_metrics": LatestMetrics,
        "overrides": RuleOverride,
        "rules": MonitoringRule,
        "samples": DeviceMetrics,
        "sites": Site,
        "tags": Tag,
    }.items()
}

# Conditions of a rule that is enabled, at least for some devices.
_ENABLED = """rule.archived_at IS NULL AND (rule.is_enabled OR EXISTS (
    SELECT FROM {overrides} AS enabling WHERE enabling.rule_id = rule.id AND enabling.is_enabled
))"""
_HAS_OVERRIDES = "EXISTS (SELECT FROM {overrides} AS any_override WHERE rule_id = rule.id)"
FORMS = f"""
    SELECT DISTINCT kind, measure, operator, scope, lasting_seconds > 0, no_data = 'open',
        {_HAS_OVERRIDES}
    FROM {{rules}} AS rule WHERE {_ENABLED} ORDER BY 1, 2, 3, 4, 5, 6, 7
""".format(**_TABLES)
RULES_OF_FORM = f"""
    SELECT id::text, opens_at IS NULL AND closes_at IS NULL AND cardinality(weekdays) = 7,
        least(threshold, lowest), greatest(threshold, highest)
    FROM {{rules}} AS rule CROSS JOIN LATERAL (
        SELECT min(override.threshold) AS lowest, max(override.threshold) AS highest
        FROM {{overrides}} AS override WHERE override.rule_id = rule.id AND %(has_overrides)s
    ) AS override
    WHERE {_ENABLED} AND kind = %(kind)s AND measure = %(measure)s AND operator = %(operator)s
    AND scope = %(scope)s AND (lasting_seconds > 0) = %(lasts)s
    AND (no_data = 'open') = %(opens_without_data)s
    AND {_HAS_OVERRIDES} = %(has_overrides)s
""".format(**_TABLES)

# A device that has never connected raises no alerts.
_IS_WATCHED = (
    "device.status <> 'retired' AND device.quarantined_at IS NULL AND device.last_seen IS NOT NULL"
)
_DEVICES_IN_SCOPE = {
    Scope.ALL: "JOIN {devices} AS device ON device.tenant_id = rule.tenant_id",
    Scope.DEVICE: "JOIN {devices} AS device ON device.id = rule.device_id",
    Scope.TAG: """JOIN {device_tags} AS tagged ON tagged.tag_id = rule.tag_id
        JOIN {devices} AS device ON device.id = tagged.device_id""",
    Scope.SITE: """JOIN {sites} AS site
        ON site.tenant_id = rule.tenant_id AND site.path @> array[rule.site_id]
        JOIN {devices} AS device ON device.site_id = site.id""",
}
_IS_IN_SCOPE = {
    Scope.ALL: "device.tenant_id = rule.tenant_id",
    Scope.DEVICE: "device.id = rule.device_id",
    Scope.TAG: """EXISTS (
        SELECT FROM {device_tags} AS tagged
        WHERE tagged.device_id = device.id AND tagged.tag_id = rule.tag_id
    )""",
    Scope.SITE: """EXISTS (
        SELECT FROM {sites} AS site
        WHERE site.id = device.site_id AND site.path @> array[rule.site_id]
    )""",
}

# The override of the device takes precedence over the override of its first tag by name, then
# over the overrides of its sites, the nearest first. Each value has its own precedence.
_OVERRIDE_VALUES = ", ".join(
    f"(array_agg({name} ORDER BY place) FILTER (WHERE {name} {test}))[1] AS {name}"
    for name, test in {
        "threshold": "IS NOT NULL",
        "clear_threshold": "IS NOT NULL",
        "lasting_seconds": "IS NOT NULL",
        "severity": "<> ''",
        "is_enabled": "IS NOT NULL",
    }.items()
)
_OVERRIDE = f"""
    CROSS JOIN LATERAL (
        SELECT {_OVERRIDE_VALUES} FROM (
            SELECT of_device.*, -1 AS place FROM {{overrides}} AS of_device
            WHERE of_device.rule_id = rule.id AND of_device.device_id = device.id
            UNION ALL (
                SELECT of_tag.*, 0 FROM {{overrides}} AS of_tag
                JOIN {{device_tags}} AS tagged
                ON tagged.tag_id = of_tag.tag_id AND tagged.device_id = device.id
                JOIN {{tags}} AS tag ON tag.id = of_tag.tag_id
                WHERE of_tag.rule_id = rule.id ORDER BY tag.name LIMIT 1
            )
            UNION ALL
            SELECT of_site.*, 1000 - array_position(site.path, of_site.site_id)
            FROM {{overrides}} AS of_site
            JOIN {{sites}} AS site
            ON site.id = device.site_id AND site.path @> array[of_site.site_id]
            WHERE of_site.rule_id = rule.id
        ) AS applying
    ) AS override
"""

_VIOLATIONS = f"""
    SELECT rule_id, device_id, value, since, severity FROM (
        SELECT rule.id AS rule_id, device.id AS device_id, {{value}} AS value, {{since}} AS since,
            {{severity}} AS severity, row_number() OVER (PARTITION BY rule.id) AS place
        FROM {{rules}} AS rule {{devices_in_scope}} {{override}} {{source}}
        WHERE rule.id = ANY(%(rules)s::uuid[]) AND {_IS_WATCHED} AND {{of_devices}}
        AND {{is_enabled}} AND ({{is_violated}}) AND NOT {{is_held}} AND NOT EXISTS (
            SELECT FROM {{alerts}} AS alert
            WHERE alert.rule_id = rule.id AND alert.device_id = device.id
            AND (
                alert.settled_at IS NULL OR alert.closing <> 'cause_gone'
                AND alert.closed_at > %(now)s - rule.cool_down_seconds * interval '1 second'
            )
        )
    ) AS violation
    ORDER BY place LIMIT %(limit)s
"""
_SEVERITIES = f"array[{', '.join(repr(str(value)) for value in Severity.values)}]"
_CHANGES = f"""
    SELECT alert_id, change, value FROM (
        SELECT alert.id AS alert_id, {{value}} AS value, CASE
            WHEN NOT ({_IS_WATCHED} AND {{is_in_scope}} AND {{is_enabled}}) THEN 'not_watched'
            WHEN {{is_gone}} THEN 'cause_gone'
            WHEN alert.closed_at IS NULL AND {{is_escalated}} AND NOT {{is_held}}
            AND array_position({_SEVERITIES}, alert.severity::text)
                < array_position({_SEVERITIES}, rule.escalation_severity::text)
            THEN 'escalated'
        END AS change
        FROM {{rules}} AS rule
        JOIN {{alerts}} AS alert ON alert.rule_id = rule.id AND alert.settled_at IS NULL
        JOIN {{devices}} AS device ON device.id = alert.device_id {{override}} {{source}}
        WHERE alert.rule_id = ANY(%(rules)s::uuid[]) AND {{of_devices}}
    ) AS alert
    WHERE change IS NOT NULL LIMIT %(limit)s
"""
# An incident replaces the alerts of its devices, but not those on their metrics.
_NOT_IN_INCIDENT = """NOT EXISTS (
    SELECT FROM {incident_devices} AS member
    JOIN {alerts} AS incident ON incident.id = member.alert_id
    WHERE member.device_id = device.id AND member.returned_at IS NULL
    AND incident.kind = 'fleet_silence' AND incident.closed_at IS NULL
)"""

_HAS_DATA = "coalesce(latest.recorded_at > %(data_since)s AND latest.{measure} IS NOT NULL, false)"
_HAS_NO_DATA = f"device.registered_at <= %(data_since)s AND NOT {_HAS_DATA}"
# The newest sample before the duration, and all samples since then, must violate the rule.
_LASTS = """(
    SELECT sample.{measure} FROM {samples} AS sample
    WHERE sample.device_id = device.id AND sample.{measure} IS NOT NULL
    AND sample.recorded_at > latest.recorded_at - {duration} - %(data_age)s
    AND sample.recorded_at <= latest.recorded_at - {duration}
    ORDER BY sample.recorded_at DESC LIMIT 1
) {operator} {threshold} AND NOT EXISTS (
    SELECT FROM {samples} AS sample
    WHERE sample.device_id = device.id
    AND sample.recorded_at > latest.recorded_at - {duration}
    AND sample.recorded_at <= latest.recorded_at AND sample.{measure} {negated} {threshold}
)"""


class RuleForm(NamedTuple):
    """What the statements of a rule depend on. Rules with the same form are compared together."""

    kind: str
    measure: str
    operator: str
    scope: str
    lasts: bool  # the rule has a duration
    opens_without_data: bool
    has_overrides: bool

    def __str__(self) -> str:
        notes = {
            "lasting": self.lasts,
            "no data": self.opens_without_data,
            "overridden": self.has_overrides,
        }
        parts = (self.kind, self.measure, self.operator, self.scope)
        return " ".join(filter(None, (*parts, *(note for note, holds in notes.items() if holds))))


class Statements:
    """The statements that compare the rules of a form with devices.

    Their parameters are `rules`, `devices`, `now`, `data_since`, `data_age`, `maintenance` and
    `limit`.

    Args:
        in_maintenance: whether maintenance windows hold alerts of devices. They open and
            escalate no alerts.
    """

    def __init__(self, form: RuleForm, *, in_maintenance: bool = False) -> None:
        self.form = form
        self.is_held = IN_MAINTENANCE if in_maintenance else "false"
        self.is_metric = form.kind == Kind.METRIC
        assert form.measure in MEASURE or not self.is_metric
        self.observed = {
            Kind.METRIC: f"latest.{form.measure}",
            Kind.SILENCE: "device.last_seen",
            Kind.DRIFT: "drift.since",
            Kind.CERTIFICATE: "newest.not_after",
        }[Kind(form.kind)]

    def violations(self, *, of_some_devices: bool) -> str:
        """Return a SELECT of `queries.Violation`. It has a further parameter, `loosest`."""
        return _VIOLATIONS.format(
            **self._common(of_some_devices),
            devices_in_scope=_DEVICES_IN_SCOPE[Scope(self.form.scope)].format(**_TABLES),
            since=self._since(),
            severity=self._of_rule("severity"),
            is_violated=self._is_violated(),
        )

    def changes(self, *, of_some_devices: bool) -> str:
        """Return a SELECT of `queries.Change`."""
        return _CHANGES.format(
            **self._common(of_some_devices),
            is_in_scope=_IS_IN_SCOPE[Scope(self.form.scope)].format(**_TABLES),
            is_gone=self._is_gone(),
            is_escalated=self._is_beyond("rule.escalation_threshold"),
        )

    def _common(self, of_some_devices: bool) -> dict[str, str]:
        """Return the parts that both statements have."""
        return {
            **_TABLES,
            "override": _OVERRIDE.format(**_TABLES) if self.form.has_overrides else "",
            "source": self._source(),
            "value": self._value(),
            "is_enabled": self._of_rule("is_enabled"),
            "is_held": self.is_held,
            "of_devices": "device.id = ANY(%(devices)s::uuid[])" if of_some_devices else "true",
        }

    def _of_rule(self, name: str) -> str:
        """Return the value of a rule for the device."""
        return (
            f"coalesce(override.{name}, rule.{name})" if self.form.has_overrides else f"rule.{name}"
        )

    def _since(self) -> str:
        match self.form.kind:
            case Kind.METRIC:
                begin = "%(now)s - rule.lasting_seconds * interval '1 second'"
                has_data = self._has_data()
                return f"CASE WHEN {has_data} THEN {begin} ELSE coalesce(device.last_seen, %(now)s) END"
            case Kind.CERTIFICATE:
                return "%(now)s"
            case _:
                return self.observed

    def _is_violated(self) -> str:
        # The first comparison is with a constant. It leaves few devices for all other parts.
        condition = " AND ".join(
            self._is_beyond(bound) for bound in ("%(loosest)s", self._of_rule("threshold"))
        )
        not_in_incident = _NOT_IN_INCIDENT.format(**_TABLES)
        if self.form.kind == Kind.DRIFT:
            return condition
        if not self.is_metric:
            return f"{condition} AND {not_in_incident}"
        if self.form.lasts or self.form.has_overrides:
            condition += f" AND {self._lasts()}"
        if not self.form.opens_without_data:
            return condition
        return f"{condition} OR {self._has_no_data()} AND {not_in_incident}"

    def _is_gone(self) -> str:
        clear = f"coalesce({self._of_rule('clear_threshold')}, {self._of_rule('threshold')})"
        # Both are compared, because they may come from different overrides that contradict
        # each other. Otherwise the alert would close and open repeatedly.
        condition = " AND ".join(
            self._is_beyond(bound, negated=True) for bound in (clear, self._of_rule("threshold"))
        )
        if self.is_metric:
            return f"{condition} OR rule.no_data = 'close' AND {self._has_no_data()}"
        if self.form.kind == Kind.SILENCE:
            return condition
        return f"{self.observed} IS NULL OR {condition}"

    def _value(self) -> str:
        seconds = "(extract(epoch FROM {} - {})::float8 / {})"
        match self.form.kind:
            case Kind.METRIC:
                return f"CASE WHEN {self._has_data()} THEN {self.observed}::float8 END"
            case Kind.CERTIFICATE:
                return seconds.format(self.observed, "%(now)s", 86_400)
            case _:
                return seconds.format("%(now)s", self.observed, 60)

    def _source(self) -> str:
        match self.form.kind:
            case Kind.METRIC:
                return f"LEFT JOIN {_TABLES['latest_metrics']} AS latest ON latest.device_id = device.id"
            case Kind.CERTIFICATE:
                return f"""LEFT JOIN (
                    SELECT device_id, max(not_after) AS not_after FROM {_TABLES["certificates"]}
                    WHERE status IN ('active', 'expired') GROUP BY device_id
                ) AS newest ON newest.device_id = device.id"""
            case Kind.DRIFT:
                return f"LEFT JOIN ({_drifts()}) AS drift ON drift.device_id = device.id"
            case _:
                return ""

    def _is_beyond(self, bound: str, *, negated: bool = False) -> str:
        operator = NEGATED[self.form.operator] if negated else self.form.operator
        if self.is_metric:
            is_recent = "latest.recorded_at > %(data_since)s"
            return f"{is_recent} AND {self.observed} {_OPERATORS[operator]} {bound}"
        interval = f"least(greatest({bound}, -{_MAX_INTERVAL}), {_MAX_INTERVAL}) * interval "
        if self.form.kind == Kind.CERTIFICATE:
            return f"{self.observed} {_OPERATORS[operator]} %(now)s + {interval} '1 day'"
        # A state that has lasted longer began earlier.
        return f"{self.observed} {'>' if negated else '<='} %(now)s - {interval} '1 minute'"

    def _has_data(self) -> str:
        return _HAS_DATA.format(measure=self.form.measure)

    def _has_no_data(self) -> str:
        return _HAS_NO_DATA.format(measure=self.form.measure)

    def _lasts(self) -> str:
        return _LASTS.format(
            **_TABLES,
            measure=self.form.measure,
            duration=f"{self._of_rule('lasting_seconds')} * interval '1 second'",
            operator=_OPERATORS[self.form.operator],
            negated=_OPERATORS[NEGATED[self.form.operator]],
            threshold=self._of_rule("threshold"),
        )


def _drifts() -> str:
    """Return a SELECT of the drifts of all tenants, as text for a statement with parameters."""
    (drifts,) = configuration_drifts
    sql, values = drifts().order_by().values("device_id", "since").query.sql_with_params()
    with connection.cursor() as cursor:
        text: str = cursor.mogrify(sql, values).decode()
    return text.replace("%", "%%")
