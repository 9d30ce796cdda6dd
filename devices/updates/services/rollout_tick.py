"""The tick: every rollout goes on by a bounded step, whoever does it and how often.

Each step is one transaction that holds its deployment; another tick at the same time
skips that one. What a step did is committed with where it stands, so whoever is killed
leaves nothing half done. A step that fails keeps no other rollout waiting.
"""

import logging
import time
from datetime import datetime, timedelta

from django.db import transaction

from devices.updates.models import Deployment, DeploymentWave, Status, UpdateStatus
from devices.updates.services import gate, outcomes, rollout_control, rollouts, waves
from tenants.context import tenant_scope

logger = logging.getLogger(__name__)

State = Deployment.State
Wave = DeploymentWave.State

OFTEN = timedelta(seconds=9)  # beat sends the tick every ten: each time it is due
SELDOM = timedelta(minutes=1)  # where only devices are waited for that are away
REST = timedelta(minutes=1)  # after a step that has failed
RARELY = timedelta(minutes=10)  # when that has lasted
RECENT = timedelta(days=1)
SHARE = 20  # a step that took long is not repeated before so many times as long


def tick(*, now: datetime) -> bool:
    """Do one step of the rollout that has waited longest; whether there was any."""
    with transaction.atomic():
        was_closing = outcomes.close_withdrawn(now)
    with transaction.atomic():
        due = Deployment.every_tenant.due(now).select_related(
            "product", "package__product", "rolls_back__product"
        )
        row: Deployment | None = due.select_for_update(
            skip_locked=True, of=("self",)
        ).first()
        if row is None:
            return was_closing
        with tenant_scope(row.tenant_id):
            _contained(row, now)
    return True


def _contained(row: Deployment, now: datetime) -> None:
    try:
        with transaction.atomic():
            _step(row, now)
    except Exception:
        logger.exception("A step of a rollout has failed", extra={"rollout": row.pk})
        Deployment.objects.filter(pk=row.pk).update(due_at=now + REST)


def _step(row: Deployment, now: datetime) -> None:
    """What waits for locks comes before what skips those that are taken."""
    begun = time.monotonic()
    if row.state == State.SCHEDULED:
        if row.starts_at is not None and row.starts_at > now:
            row.due_at = row.starts_at
            row.save(update_fields=["due_at"])
            return
        rollouts.move(row, State.RUNNING, now)
    if row.state == State.ABORTED:
        rollout_control.widen(row, now)
    is_busy = row.state == State.RUNNING and _open(row, now)
    is_busy |= outcomes.decide(row, now)
    if not is_busy:
        gate.count(row, now)
        if row.state in (State.RUNNING, State.FINISHED):
            before = (row.state, _running(row))
            gate.judge(row, now)
            is_busy = before != (row.state, _running(row))
    spent = timedelta(seconds=time.monotonic() - begun)
    row.due_at = now if is_busy else _next(row, now, spent)
    row.save()


def _open(row: Deployment, now: datetime) -> bool:
    """The next devices of the wave that is open; whether more may come at once."""
    wave = row.waves.filter(state=Wave.RUNNING, is_open=False).first()
    if wave is None:
        return False
    before = wave.position
    waves.open_batch(row, wave, now)
    return wave.is_open or wave.position != before


def _running(row: Deployment) -> list[int]:
    running = row.waves.filter(state=Wave.RUNNING)
    return list(running.values_list("number", flat=True))


def _next(row: Deployment, now: datetime, spent: timedelta) -> datetime | None:
    """When to look again; None when there is nothing left to be seen."""
    often = OFTEN
    if row.state in (State.FINISHED, State.ABORTED):
        left = UpdateStatus.objects.open().filter(deployment=row)
        if not left.exists():
            return None
        if row.ended_at is not None and row.ended_at < now - RECENT:
            often = RARELY
        elif not left.exclude(status=Status.PENDING).exists():
            often = SELDOM
    return now + max(often, SHARE * spent)
