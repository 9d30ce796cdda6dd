"""What a rule can say: what follows from its kind is set, what cannot be is refused."""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from devices.metrics.measures import MEASURE
from devices.monitoring.conditions import HOLDS
from devices.monitoring.errors import InvalidRule
from devices.monitoring.models import EVERY_DAY, MonitoringRule
from events.severity import Severity

LONGEST = 366 * 24 * 3600  # seconds that a condition lasts or cools down
MOST_MINUTES = 1_000_000  # of silence or of drift
MOST_DAYS = 36_500  # that a certificate is still good
Kind = MonitoringRule.Kind

NUMBERS = (
    *("threshold", "clear_threshold", "escalation_threshold"),
    *("lasting_seconds", "cool_down_seconds"),
)


def complete(rule: MonitoringRule) -> None:
    """Set what follows from the kind, and refuse what cannot be.

    Raises:
        InvalidRule: it cannot be.
    """
    if rule.kind == Kind.METRIC:
        if rule.measure not in MEASURE:
            raise InvalidRule("A rule on a metric names a measure.", field="measure")
    else:
        rule.measure, rule.clear_threshold = "", None
        rule.lasting_seconds, rule.no_data = 0, rule.NoData.KEEP
        rising = rule.counts_minutes
        rule.operator = rule.Operator.AT_LEAST if rising else rule.Operator.AT_MOST
    _check_subject(rule)
    check_numbers({name: getattr(rule, name) for name in NUMBERS}, rule)
    _check_escalation(rule)
    _check_hours(rule)


def _check_subject(rule: MonitoringRule) -> None:
    wanted = {"all": (), "tag": ("tag",), "device": ("device",)}[rule.scope]
    for name in ("tag", "device"):
        there = getattr(rule, f"{name}_id") is not None
        if there and name not in wanted:
            setattr(rule, name, None)
        elif not there and name in wanted:
            raise InvalidRule(f"For which {name}?", field=name)


def check_numbers(values: Mapping[str, Any], rule: MonitoringRule) -> None:
    """
    Raises:
        InvalidRule: the numbers, of the rule or with an override, do not go together.
    """
    threshold, clear = values["threshold"], values["clear_threshold"]
    if rule.kind != Kind.METRIC:
        most = MOST_MINUTES if rule.counts_minutes else MOST_DAYS
        for name in ("threshold", "escalation_threshold"):
            if values[name] is not None and not 0 < values[name] <= most:
                raise InvalidRule(f"Above 0, and at most {most:,}.", field=name)
    if clear is not None and HOLDS[rule.operator](clear, threshold):
        raise InvalidRule(
            "An alert would be opened and closed by the same value.",
            field="clear_threshold",
        )
    for name in ("lasting_seconds", "cool_down_seconds"):
        if not 0 <= values[name] <= LONGEST:
            raise InvalidRule("At most a year.", field=name)


def _check_escalation(rule: MonitoringRule) -> None:
    if (rule.escalation_threshold is None) != (not rule.escalation_severity):
        raise InvalidRule(
            "An escalation has a threshold and a severity.",
            field="escalation_threshold",
        )
    if rule.escalation_threshold is None:
        return
    if not HOLDS[rule.operator](rule.escalation_threshold, rule.threshold):
        raise InvalidRule(
            "It escalates beyond the threshold only.", field="escalation_threshold"
        )
    if not Severity(rule.escalation_severity).exceeds(rule.severity):
        raise InvalidRule(
            "It escalates to a higher severity only.", field="escalation_severity"
        )


def _check_hours(rule: MonitoringRule) -> None:
    if not rule.weekdays or not set(rule.weekdays) <= set(EVERY_DAY):
        raise InvalidRule("Weekdays are 1 (Monday) to 7 (Sunday).", field="weekdays")
    rule.weekdays = sorted(set(rule.weekdays))
    try:
        ZoneInfo(rule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        sentence = "A time zone is called like Europe/Berlin."
        raise InvalidRule(sentence, field="time_zone") from error
