"""Celery tasks that evaluate monitoring rules."""

import random
from datetime import datetime, timedelta
from uuid import UUID

from celery import shared_task

from core import clock
from devices.monitoring import queries
from devices.monitoring.rule_statements import RuleForm
from devices.monitoring.services import evaluation, evaluation_times
from tenants.context import SYSTEM, caller_scope, every_tenant_scope

LATE = timedelta(seconds=55)  # then the next evaluation of the rules is queued


@shared_task(ignore_result=True)
def evaluate_rules() -> int:
    """Queue an evaluation of the rules of each form. Return the number of evaluations.

    Incidents, and alerts of disabled rules, are updated at once.
    """
    now = clock.now()
    with every_tenant_scope(), caller_scope(SYSTEM):
        forms = queries.forms()
        evaluation_times.expect(forms, now=now)
        evaluation_times.report_late(now=now)
    # If the workers are too slow for all, it is not always the same rules that wait.
    random.shuffle(forms)
    for form in forms:
        evaluate_form.delay(list(form), now.isoformat())
    with caller_scope(SYSTEM):
        evaluation.update_others(now=now)
    return len(forms)


@shared_task(ignore_result=True)
def evaluate_form(form: list[str | bool], queued_at: str) -> str:
    """Evaluate the rules of a form once, for all tenants.

    Args:
        form: the values of `RuleForm`.
        queued_at: an evaluation that waited too long is left out, since the next one is queued.
    """
    now = clock.now()
    if now - datetime.fromisoformat(queued_at) > LATE:
        return "late"
    rule_form = RuleForm(*form)  # type: ignore[arg-type]
    with evaluation_times.evaluation_of(rule_form, now=now) as is_free, caller_scope(SYSTEM):
        return str(evaluation.evaluate(rule_form, now=now)) if is_free else "running"


@shared_task(ignore_result=True)
def evaluate_devices(device_ids: list[str]) -> str:
    """Evaluate the metric rules for devices that have just reported samples."""
    with caller_scope(SYSTEM):
        return str(evaluation.evaluate_devices(list(map(UUID, device_ids)), now=clock.now()))
