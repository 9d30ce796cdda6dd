"""Rollouts under way: begun, approved, paused, ended, taken back."""

from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from devices.updates.errors import (
    RolloutDecided,
    RolloutOfNothing,
    SecondPersonNeeded,
)
from devices.updates.events import RolloutRetried
from devices.updates.models import (
    UNDER_WAY,
    Deployment,
    DeploymentWave,
    SoftwareUpdate,
    UpdateStatus,
)
from devices.updates.services import policies, targets, terms
from devices.updates.services.rollouts import (
    GOING,
    NOT_BEGUN,
    State,
    Wave,
    about,
    check_released,
    created,
    hold,
    move,
    move_wave,
    plan_of,
    write_waves,
)
from devices.updates.services.wave_candidates import rollback_candidates
from events.services.outbox import record
from tenants.models import User

WITHDRAWN = "The package was withdrawn."


@transaction.atomic
def start(*, deployment: Deployment, by: User, now: datetime) -> Deployment:
    """Let it begin, now or at its time; a large one when a second person approves.

    It is for the devices that there are now and no more than are counted now.

    Raises:
        RolloutDecided: it is no draft.
        RolloutOfNothing, PackageNotReleased: there is nothing to do any more.
    """
    row = hold(deployment)
    if row.state != State.DRAFT or row.package is None:
        raise RolloutDecided(row.state)
    check_released(row.package)
    agreed = terms.of(row)
    plan = plan_of(row.package, agreed, now=now)
    write_waves(row, agreed.waves, plan)
    row.counted, row.begun_at = plan.eligible, now
    row.requested_by, row.requested_at = by, now
    if plan.eligible > policies.of_tenant().approval_above:
        move(row, State.WAITING, now)
    else:
        _go(row, now)
    return row


@transaction.atomic
def approve(*, deployment: Deployment, by: User, now: datetime) -> Deployment:
    """Let one begin that somebody else has asked for.

    Raises:
        RolloutDecided: it waits for nobody.
        SecondPersonNeeded: it is one's own.
        PackageNotReleased: the package was withdrawn meanwhile.
    """
    row = hold(deployment)
    if row.state != State.WAITING or row.package is None:
        raise RolloutDecided(row.state)
    if by.pk in (row.requested_by_id, row.created_by_id):
        raise SecondPersonNeeded
    check_released(row.package)
    row.approved_by = by
    _go(row, now)
    return row


@transaction.atomic
def pause(*, deployment: Deployment, reason: str = "", now: datetime) -> Deployment:
    """Nobody begins; who has begun goes on.

    Raises:
        RolloutDecided: it is not under way, nor does anybody still wait for it.
    """
    row = hold(deployment)
    if row.state not in (State.RUNNING, State.SCHEDULED) and not _is_waited_for(row):
        raise RolloutDecided(row.state)
    row.paused_because = reason.strip()[:200]
    move(row, State.PAUSED, now, reason=row.paused_because)
    return row


@transaction.atomic
def resume(*, deployment: Deployment, now: datetime) -> Deployment:
    """Go on; what failed until now does not count against it any more.

    Raises:
        RolloutDecided: it is not paused.
    """
    row = hold(deployment)
    if row.state != State.PAUSED:
        raise RolloutDecided(row.state)
    row.counts_from, row.paused_because = now, ""
    row.waves.filter(state=Wave.FAILED).update(
        state=Wave.RUNNING, ended_at=None, held_at=None
    )
    _go(row, now)
    return row


@transaction.atomic
def abort(*, deployment: Deployment, reason: str = "", now: datetime) -> Deployment:
    """End it. Who has not begun to install does not; who has is still waited for.

    Raises:
        RolloutDecided: it is over.
    """
    row = hold(deployment)
    if row.state not in (*GOING, State.WAITING) and not _is_waited_for(row):
        raise RolloutDecided(row.state)
    _abort(row, reason, now)
    return row


def abort_all(*, package: SoftwareUpdate, now: datetime) -> None:
    """End every rollout of a package, in the transaction that withdraws it."""
    rows = Deployment.objects.filter(package=package).exclude(state=State.ABORTED)
    for row in rows.select_for_update(of=("self",)).order_by("pk"):
        _abort(row, WITHDRAWN, now)


@transaction.atomic
def retry(*, deployment: Deployment, now: datetime) -> Deployment:
    """Have the devices try again that have failed until now, and only those.

    Raises:
        RolloutDecided: it does not go on any more, or nothing has failed.
    """
    row = hold(deployment)
    if row.state not in (State.RUNNING, State.PAUSED, State.FINISHED):
        raise RolloutDecided(row.state)
    failed = UpdateStatus.objects.filter(deployment=row, status="failed")
    if not failed.exists():
        raise RolloutDecided(row.state, "No device has failed.")
    if _ways_back(row).exists():
        raise RolloutDecided(row.state, "It is taken back.")
    row.retries_before = row.counts_from = now
    waves = row.waves.filter(pk__in=failed.values("wave")) | row.waves.filter(
        state=Wave.FAILED
    )
    row.waves.filter(pk__in=list(waves.values_list("pk", flat=True))).update(
        state=Wave.RUNNING, ended_at=None, held_at=None
    )
    record([RolloutRetried(**about(row, now))])
    _go(row, now)
    return row


@transaction.atomic
def open_next_wave(*, deployment: Deployment, now: datetime) -> Deployment:
    """Let the next wave begin, whatever is known of the one before.

    Raises:
        RolloutDecided: it is not running, or there is no other wave.
    """
    row = hold(deployment)
    if row.state != State.RUNNING:
        raise RolloutDecided(row.state)
    present = list(row.waves.filter(state=Wave.RUNNING))
    following = row.waves.filter(state=Wave.WAITING).first()
    if following is None:
        raise RolloutDecided(row.state, "There is no other wave.")
    if not all(wave.is_open for wave in present):
        raise RolloutDecided(row.state, "The wave before is still being opened.")
    for wave in present:
        move_wave(row, wave, Wave.PASSED, now)
    following.starts_at = None
    following.save(update_fields=["starts_at"])
    _go(row, now)
    return row


@transaction.atomic
def roll_back(*, deployment: Deployment, by: User, now: datetime) -> Deployment:
    """Tell each device that took the update to go back to the version it had.

    That is a rollout of its own, with one wave and no gate. The one that is taken back
    ends with it, if it has not yet. Who is installing it at this moment is told when it
    is done (`widen`).

    Raises:
        RolloutDecided: it has not begun, is a way back itself, or has one already.
        RolloutOfNothing: no device took it.
    """
    row = hold(deployment)
    if row.package is None or row.state in (*NOT_BEGUN, State.SCHEDULED):
        raise RolloutDecided(row.state)
    if (known := _ways_back(row).first()) is not None:
        if not widen(row, now):
            raise RolloutDecided(row.state, "It has been rolled back already.")
        return hold(known)
    number = rollback_candidates(row).count()
    if not number and not row.statuses.filter(status__in=UNDER_WAY).exists():
        raise RolloutOfNothing({})
    if row.state != State.ABORTED:
        _abort(row, "It is rolled back.", now)
    back = Deployment.objects.create(
        name=f"Back from {row.name}"[:120],
        product=row.product,
        rolls_back=row,
        state=State.DRAFT,
        soak_minutes=row.soak_minutes,
        deadline_minutes=row.deadline_minutes,
        success_percent=0.0,
        failure_percent=100.0,
        created_by=by,
        created_at=now,
        requested_by=by,
        requested_at=now,
        begun_at=now,
        counted=number,
    )
    DeploymentWave.objects.create(
        deployment=back, number=1, percent=100.0, ceiling=targets.PLACES
    )
    record([created(back, now)])
    _go(back, now)
    return back


def _is_waited_for(row: Deployment) -> bool:
    """Whether a finished one has devices that it has not reached yet."""
    waits = UpdateStatus.objects.open().filter(deployment=row)
    return row.state == State.FINISHED and waits.exists()


def _ways_back(row: Deployment) -> QuerySet[Deployment]:
    found: QuerySet[Deployment] = Deployment.objects.filter(rolls_back=row)
    return found.exclude(state=State.ABORTED)


def widen(row: Deployment, now: datetime) -> bool:
    """Lead those back as well that run a held deployment's version since then."""
    found = _ways_back(row).first()
    if found is None:
        return False
    back = hold(found)
    has_it = back.statuses.filter(device=OuterRef("device"))
    new = rollback_candidates(row).filter(~Exists(has_it)).count()
    if not new or back.opened + new <= back.counted:
        return False
    back.counted = back.opened + new
    back.waves.update(state=Wave.RUNNING, position=None, is_open=False, ended_at=None)
    if back.state == State.PAUSED:  # it goes on when somebody says so
        back.save(update_fields=["counted"])
    else:
        _go(back, now)
    return True


def _go(row: Deployment, now: datetime) -> None:
    is_early = row.starts_at is not None and row.starts_at > now
    row.counts_from = row.counts_from or now
    row.ended_at = None
    move(row, State.SCHEDULED if is_early else State.RUNNING, now)


def _abort(row: Deployment, reason: str, now: datetime) -> None:
    row.ended_at = row.ended_at or now
    row.retries_before = None  # what has failed stays as it was said
    for wave in row.waves.filter(state=Wave.RUNNING):
        move_wave(row, wave, Wave.FAILED, now)
    move(row, State.ABORTED, now, reason=reason.strip()[:200])
