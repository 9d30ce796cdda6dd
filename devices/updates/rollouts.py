"""The tick: every rollout goes on by a bounded step, whoever does it and how often.

Each step is one transaction that holds its deployment; another tick at the same time
skips that one. What a step did is committed with where it stands, so whoever is killed
leaves nothing half done.
"""

import time
from datetime import datetime, timedelta

from django.db import transaction

from devices.updates import deciding, deployments, gate, opening, steering
from devices.updates.models import Deployment, DeploymentWave, Status, UpdateStatus
from tenants.context import tenant_scope

State = Deployment.State
Wave = DeploymentWave.State

OFTEN = timedelta(seconds=10)
SELDOM = timedelta(minutes=5)  # where only devices are waited for that are away
SHARE = 20  # a step that took long is not repeated before so many times as long


def tick(*, now: datetime) -> bool:
    """Do one step of the rollout that has waited longest; whether there was one."""
    with transaction.atomic():
        due = Deployment.every_tenant.due(now).select_related(
            "product", "package__product"
        )
        row: Deployment | None = due.select_for_update(
            skip_locked=True, of=("self",)
        ).first()
        if row is None:
            return deciding.close_withdrawn(now)
        with tenant_scope(row.tenant_id):
            _step(row, now)
    return True


def _step(row: Deployment, now: datetime) -> None:
    begun = time.monotonic()
    if row.state == State.SCHEDULED:
        if row.starts_at is not None and row.starts_at > now:
            row.due_at = row.starts_at
            row.save(update_fields=["due_at"])
            return
        deployments.move(row, State.RUNNING, now)
    is_busy = deciding.decide(row, now)
    if row.state == State.ABORTED:
        steering.widen(row, now)
    if row.state == State.RUNNING:
        is_busy |= _open(row, now)
    if not is_busy:
        gate.count(row, now)
        if row.state == State.RUNNING:
            before = (row.state, _running(row))
            gate.judge(row, now)
            is_busy = before != (row.state, _running(row))
    spent = timedelta(seconds=time.monotonic() - begun)
    row.due_at = now if is_busy else _next(row, now, spent)
    row.save()


def _open(row: Deployment, now: datetime) -> bool:
    """The next devices of the wave that is open; whether more may come at once."""
    wave = row.waves.filter(state=Wave.RUNNING).first()
    if wave is None or wave.is_open:
        return False
    before = wave.position
    opening.open_batch(row, wave, now)
    return wave.is_open or wave.position != before


def _running(row: Deployment) -> int | None:
    running = row.waves.filter(state=Wave.RUNNING)
    return running.values_list("number", flat=True).first()


def _next(row: Deployment, now: datetime, spent: timedelta) -> datetime | None:
    """When to look again; None when there is nothing left to be seen."""
    left = UpdateStatus.objects.open().filter(deployment=row)
    if row.state in (State.FINISHED, State.ABORTED):
        if not left.exists():
            return None
        if not left.exclude(status=Status.PENDING).exists():
            return now + SELDOM
    return now + max(OFTEN, SHARE * spent)
