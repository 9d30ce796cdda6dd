"""Record when rules were evaluated, so that a lack of workers is noticed and reported."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Min, Q

from devices.monitoring.events import EvaluationLate
from devices.monitoring.models import FormEvaluation
from devices.monitoring.rule_statements import RuleForm
from events.services.outbox import record

LATE_AFTER = timedelta(minutes=3)  # rules are due each minute
LEASE = timedelta(minutes=4)  # longer than a task may run

logger = logging.getLogger(__name__)


def expect(forms: Iterable[RuleForm], *, now: datetime) -> None:
    """Note that the rules of these forms are due, and forget the forms that no rule has."""
    names = {str(form) for form in forms}
    FormEvaluation.objects.exclude(pk__in=names).delete()
    new = names - set(FormEvaluation.objects.values_list("pk", flat=True))
    FormEvaluation.objects.bulk_create(
        [FormEvaluation(form=name, succeeded_at=now) for name in sorted(new)], ignore_conflicts=True
    )


@contextmanager
def evaluation_of(form: RuleForm, *, now: datetime) -> Iterator[bool]:
    """Record an evaluation. Yield whether to evaluate: no other worker is doing it."""
    row = FormEvaluation.objects.filter(pk=str(form))
    is_free = Q(started_at=None) | Q(started_at__lt=now - LEASE)
    if not row.filter(is_free).update(started_at=now):
        yield False
        return
    try:
        yield True
    except BaseException:
        row.filter(started_at=now).update(started_at=None)
        raise
    row.update(started_at=None, succeeded_at=now, late_reported_at=None)


@transaction.atomic
def report_late(*, now: datetime) -> int:
    """Log late evaluations, and record an event for each that is newly late. Return the number."""
    late = FormEvaluation.objects.filter(succeeded_at__lt=now - LATE_AFTER)
    rows = list(late.select_for_update(skip_locked=True))
    if rows:
        logger.error("The workers are too slow: rules were not evaluated in time.")
    new = [row for row in rows if row.late_reported_at is None]
    record(
        EvaluationLate(tenant_id=None, at=now, rules=row.form, last_at=row.succeeded_at)
        for row in new
    )
    FormEvaluation.objects.filter(pk__in=[row.pk for row in new]).update(late_reported_at=now)
    return len(new)


def age(*, now: datetime) -> timedelta:
    """Return the time since the oldest of the last evaluations; zero without rules."""
    oldest = FormEvaluation.objects.aggregate(oldest=Min("succeeded_at"))["oldest"]
    return timedelta() if oldest is None else max(timedelta(), now - oldest)
