"""Validate rules, and set the fields that follow from a rule's kind."""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from devices.metrics.measures import MEASURE
from devices.monitoring.conditions import COMPARE
from devices.monitoring.errors import InvalidRule
from devices.monitoring.models import EVERY_DAY, MonitoringRule
from events.severity import Severity

MAX_SECONDS = 366 * 24 * 3600  # of the duration and the cool-down
MAX_MINUTES = 1_000_000  # of silence or drift
MAX_DAYS = 36_500  # of certificate validity left
Kind = MonitoringRule.Kind

NUMBERS = (
    "threshold",
    "clear_threshold",
    "escalation_threshold",
    "lasting_seconds",
    "cool_down_seconds",
)


def complete(rule: MonitoringRule) -> None:
    """Validate a rule and set the fields that follow from its kind.

    Raises:
        InvalidRule: a field is invalid.
    """
    if rule.kind == Kind.METRIC:
        if rule.measure not in MEASURE:
            message = "A measure is required for a rule on a metric."
            raise InvalidRule(message, field="measure")
    else:
        rule.measure, rule.clear_threshold = "", None
        rule.lasting_seconds, rule.no_data = 0, rule.NoData.KEEP
        rule.operator = (
            rule.Operator.AT_LEAST if rule.threshold_is_minutes else rule.Operator.AT_MOST
        )
    _check_scope(rule)
    check_numbers({name: getattr(rule, name) for name in NUMBERS}, rule)
    _check_escalation(rule)
    _check_hours(rule)


def _check_scope(rule: MonitoringRule) -> None:
    for name in ("site", "tag", "device"):
        is_set = getattr(rule, f"{name}_id") is not None
        if is_set and name != rule.scope:
            setattr(rule, name, None)
        elif not is_set and name == rule.scope:
            raise InvalidRule(f"A {name} is required for this scope.", field=name)


def check_numbers(values: Mapping[str, Any], rule: MonitoringRule) -> None:
    """Validate the numbers of a rule, or of a rule with an override applied.

    Args:
        values: a value for each of `NUMBERS`.
        rule: the rule that defines the kind and the operator.

    Raises:
        InvalidRule: a number is out of bounds, or the thresholds contradict each other.
    """
    threshold, clear = values["threshold"], values["clear_threshold"]
    if rule.kind != Kind.METRIC:
        maximum = MAX_MINUTES if rule.threshold_is_minutes else MAX_DAYS
        for name in ("threshold", "escalation_threshold"):
            if values[name] is not None and not 0 < values[name] <= maximum:
                message = f"This must be above 0 and at most {maximum:,}."
                raise InvalidRule(message, field=name)
    if clear is not None and COMPARE[rule.operator](clear, threshold):
        raise InvalidRule(
            "The clear threshold must not be a value that opens an alert.", field="clear_threshold"
        )
    for name in ("lasting_seconds", "cool_down_seconds"):
        if not 0 <= values[name] <= MAX_SECONDS:
            raise InvalidRule("This must be at most one year.", field=name)


def _check_escalation(rule: MonitoringRule) -> None:
    if (rule.escalation_threshold is None) != (not rule.escalation_severity):
        raise InvalidRule(
            "An escalation requires both a threshold and a severity.", field="escalation_threshold"
        )
    if rule.escalation_threshold is None:
        return
    if not COMPARE[rule.operator](rule.escalation_threshold, rule.threshold):
        raise InvalidRule(
            "The escalation threshold must be beyond the threshold.", field="escalation_threshold"
        )
    if not Severity(rule.escalation_severity).exceeds(rule.severity):
        raise InvalidRule(
            "The escalation severity must be higher than the severity.", field="escalation_severity"
        )


def _check_hours(rule: MonitoringRule) -> None:
    if not rule.weekdays or not set(rule.weekdays) <= set(EVERY_DAY):
        message = "Enter at least one weekday from 1 (Monday) to 7 (Sunday)."
        raise InvalidRule(message, field="weekdays")
    rule.weekdays = sorted(set(rule.weekdays))
    try:
        ZoneInfo(rule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = "Enter an IANA time zone, such as Europe/Berlin."
        raise InvalidRule(message, field="time_zone") from error
