"""SQL that compares the rules of all tenants with their devices, one statement for many rules.

With many tenants, a statement for each rule would take nearly all the time of an evaluation.
So the rules with the same form are compared with all devices in one statement. A form is what
the text of the statement depends on.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from devices.maintenance.services.open_windows import OpenWindow, as_json
from devices.monitoring.conditions import max_sample_age
from devices.monitoring.rule_statements import FORMS, RULES_OF_FORM, Kind, RuleForm, Statements

MAX_VIOLATIONS = 100_000  # in one evaluation; the next one opens the alerts of the others
MAX_CHANGES = 100_000  # of alerts, in one evaluation


class ComparedRule(NamedTuple):
    """A rule, with what a statement must know of it in advance."""

    id: str
    is_always_open: bool
    lowest_threshold: float  # of the rule and its overrides
    highest_threshold: float


class Violation(NamedTuple):
    """A device that violates a rule and has no alert of it."""

    rule_id: UUID
    device_id: UUID
    value: float | None  # in the rule's unit; None if the device has no data
    since: datetime  # the begin of the violation
    severity: str


class Change(NamedTuple):
    """What happens to an alert."""

    alert_id: UUID
    change: str  # `not_watched`, `cause_gone` or `escalated`
    value: float | None


def forms() -> list[RuleForm]:
    """Return the forms of the enabled rules of the current scope."""
    return [RuleForm(*row) for row in _fetch(FORMS, {})]


def rules_of(form: RuleForm) -> list[ComparedRule]:
    """Return the enabled rules of a form."""
    rows = _fetch(RULES_OF_FORM, form._asdict())
    return [ComparedRule(*row) for row in rows]


def violations(
    form: RuleForm,
    rules: Collection[ComparedRule],
    *,
    now: datetime,
    device_ids: Collection[UUID] | None = None,
    maintenance: Sequence[OpenWindow] = (),
) -> list[Violation]:
    """Return the devices that violate rules of a form and have no alert, at most `MAX_VIOLATIONS`.

    If there are more, each rule has its share.

    Args:
        device_ids: compare these devices only; None for all.
        maintenance: open windows, whose devices are left out.
    """
    if not rules:
        return []
    sql = Statements(form, in_maintenance=bool(maintenance)).violations(
        of_some_devices=device_ids is not None
    )
    values = _values(rules, now, device_ids, maintenance)
    values |= {"loosest": _loosest_threshold(form, rules), "limit": MAX_VIOLATIONS}
    return [Violation(*row) for row in _fetch(sql, values)]


def changes(
    form: RuleForm,
    rules: Collection[ComparedRule],
    *,
    now: datetime,
    device_ids: Collection[UUID] | None = None,
    maintenance: Sequence[OpenWindow] = (),
) -> list[Change]:
    """Return the alerts of rules of a form that are to be settled or escalated.

    There are at most `MAX_CHANGES`.

    Args:
        device_ids: the alerts of these devices only; None for all.
        maintenance: open windows. The alerts of their devices are not escalated.
    """
    sql = Statements(form, in_maintenance=bool(maintenance)).changes(
        of_some_devices=device_ids is not None
    )
    values = _values(rules, now, device_ids, maintenance) | {"limit": MAX_CHANGES}
    return [Change(*row) for row in _fetch(sql, values)]


def _loosest_threshold(form: RuleForm, rules: Collection[ComparedRule]) -> float:
    """Return the threshold that is easiest to violate."""
    if form.kind in (Kind.SILENCE, Kind.DRIFT) or form.operator in ("gt", "ge"):
        return min(rule.lowest_threshold for rule in rules)
    return max(rule.highest_threshold for rule in rules)


def _values(
    rules: Collection[ComparedRule],
    now: datetime,
    device_ids: Collection[UUID] | None,
    maintenance: Sequence[OpenWindow],
) -> dict[str, Any]:
    return {
        "rules": [rule.id for rule in rules],
        "devices": list(map(str, device_ids or ())),
        "now": now,
        "maintenance": as_json(maintenance),
        "data_age": max_sample_age(),
        "data_since": now - max_sample_age(),
    }


def _fetch(sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
