"""Rollouts in a person's hands: made, begun, approved, paused, ended, taken back."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from devices.updates import policies, targets, terms
from devices.updates.errors import (
    NoSuchRollout,
    PackageNotReleased,
    RolloutDecided,
    RolloutOfNothing,
    SecondPersonNeeded,
)
from devices.updates.facts import (
    RolloutChanged,
    RolloutCreated,
    RolloutMoved,
    RolloutRetried,
    RolloutWaveMoved,
)
from devices.updates.models import (
    Deployment,
    DeploymentWave,
    SoftwareUpdate,
    UpdateStatus,
)
from devices.updates.targets import Plan, Size
from devices.updates.terms import Terms
from events.outbox import record
from tenants.models import User

State = Deployment.State
Wave = DeploymentWave.State

NOT_BEGUN = (State.DRAFT, State.WAITING)
GOING = (State.SCHEDULED, State.RUNNING, State.PAUSED)
WITHDRAWN = "The package was withdrawn."

_wake: list[Callable[[], None]] = []


def wake_with(waker: Callable[[], None]) -> None:
    """Say how the tick is woken after a commit."""
    _wake[:] = [waker]


def preview(*, package: SoftwareUpdate, said: Mapping[str, Any]) -> Plan:
    """What a rollout would come to now; nothing is changed.

    Raises:
        InvalidRollout, InvalidFilter: its terms cannot be.
        PackageNotReleased: the package is a draft, or was withdrawn.
    """
    agreed = terms.checked(Terms(), said)
    _check_released(package)
    return targets.plan(package, filter=agreed.filter, sizes=agreed.waves)


@transaction.atomic
def create(
    *,
    package: SoftwareUpdate,
    name: str = "",
    said: Mapping[str, Any],
    by: User,
    now: datetime,
) -> Deployment:
    """A draft of a rollout. No device has it before it is started.

    Args:
        said: of its terms those that are not the usual ones.

    Raises:
        RolloutOfNothing: there is no device that would be updated.
        InvalidRollout, InvalidFilter, PackageNotReleased: see `preview`.
    """
    agreed = terms.checked(Terms(), said)
    _check_released(package)
    plan = _plan(package, agreed)
    row = Deployment(
        name=name.strip()[:120] or f"{package.product.name} {package.version}",
        product=package.product,
        package=package,
        counted=plan.eligible,
        created_by=by,
        created_at=now,
    )
    terms.write(row, agreed)
    row.save(force_insert=True)
    _write_waves(row, agreed.waves, plan)
    record([_created(row, now)])
    return row


@transaction.atomic
def change(
    *, deployment: Deployment, name: str | None = None, now: datetime, **said: Any
) -> Deployment:
    """Say other terms. One that waits for a second person is a draft again then.

    Of one that has begun, waves may be made larger or added (that adds devices and
    moves none), and everything else but the filter and the start may be changed.

    Raises:
        InvalidRollout, InvalidFilter: they cannot be.
        RolloutOfNothing: no device would be left.
        RolloutDecided: it is over, or it is a way back.
    """
    row = hold(deployment)
    is_over = row.state in (State.FINISHED, State.ABORTED)
    if is_over or row.package is None:
        raise RolloutDecided(row.state, "Its terms are not changed any more.")
    before = terms.of(row)
    agreed = terms.checked(before, said)
    has_begun = row.state in GOING
    if has_begun:
        terms.check_change(row, before, agreed)
    else:
        row.state = State.DRAFT
        row.requested_by, row.requested_at = None, None
    changes = terms.changes(before, agreed)
    if name is not None and name.strip() and name.strip() != row.name:
        changes["name"] = (row.name, name.strip()[:120])
        row.name = name.strip()[:120]
    terms.write(row, agreed)
    if before.waves != agreed.waves or before.filter != agreed.filter:
        plan = _plan(row.package, agreed, row if has_begun else None)
        row.counted = max(plan.eligible, row.opened)
        _write_waves(row, agreed.waves, plan)
    row.due_at = now if has_begun else None
    row.save()
    if changes:
        record([RolloutChanged(**about(row, now), changes=changes)])
    _wake_after_commit()
    return row


@transaction.atomic
def delete(*, deployment: Deployment) -> None:
    """Drop one that has not begun.

    Raises:
        RolloutDecided: it has: abort it.
    """
    row = hold(deployment)
    if row.state not in NOT_BEGUN:
        raise RolloutDecided(row.state)
    row.delete()


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
    _check_released(row.package)
    agreed = terms.of(row)
    plan = _plan(row.package, agreed)
    _write_waves(row, agreed.waves, plan)
    row.counted, row.begun_at = plan.eligible, now
    row.requested_by, row.requested_at = by, now
    if plan.eligible > policies.of_tenant().approval_above:
        _move(row, State.WAITING, now)
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
    _check_released(row.package)
    row.approved_by = by
    _go(row, now)
    return row


@transaction.atomic
def pause(*, deployment: Deployment, reason: str = "", now: datetime) -> Deployment:
    """Nobody begins; who has begun goes on.

    Raises:
        RolloutDecided: it is not under way.
    """
    row = hold(deployment)
    if row.state not in (State.RUNNING, State.SCHEDULED):
        raise RolloutDecided(row.state)
    row.paused_because = reason.strip()[:200]
    _move(row, State.PAUSED, now, reason=row.paused_because)
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
    row.waves.filter(state=Wave.FAILED).update(state=Wave.RUNNING, ended_at=None)
    _go(row, now)
    return row


@transaction.atomic
def abort(*, deployment: Deployment, reason: str = "", now: datetime) -> Deployment:
    """End it. Who has not begun to install does not; who has is still waited for.

    Raises:
        RolloutDecided: it is over.
    """
    row = hold(deployment)
    if row.state not in (*GOING, State.WAITING):
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
    if not UpdateStatus.objects.filter(deployment=row, status="failed").exists():
        raise RolloutDecided(row.state, "No device has failed.")
    row.retries_before = row.counts_from = now
    if row.state == State.FINISHED:
        last = row.waves.last()
        assert last is not None
        row.waves.filter(pk=last.pk).update(state=Wave.RUNNING, ended_at=None)
    row.waves.filter(state=Wave.FAILED).update(state=Wave.RUNNING, ended_at=None)
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
    present = row.waves.filter(state=Wave.RUNNING).first()
    following = row.waves.filter(state=Wave.WAITING).first()
    if following is None:
        raise RolloutDecided(row.state, "There is no other wave.")
    if present is not None and not present.is_open:
        raise RolloutDecided(row.state, "The wave before is still being opened.")
    if present is not None:
        move_wave(row, present, Wave.PASSED, now)
    following.starts_at = None
    following.save(update_fields=["starts_at"])
    _go(row, now)
    return row


@transaction.atomic
def roll_back(*, deployment: Deployment, by: User, now: datetime) -> Deployment:
    """Tell each device that took the update to go back to the version it had.

    That is a rollout of its own, with one wave and no gate. The one that is taken back
    ends with it, if it has not yet.

    Raises:
        RolloutDecided: it has not begun, is a way back itself, or has one already.
        RolloutOfNothing: no device took it.
    """
    row = hold(deployment)
    if row.package is None or row.state in (*NOT_BEGUN, State.SCHEDULED):
        raise RolloutDecided(row.state)
    if Deployment.objects.filter(rolls_back=row).exists():
        raise RolloutDecided(row.state, "It has been rolled back already.")
    took_it = UpdateStatus.objects.filter(deployment=row, installed_at__isnull=False)
    if not (number := took_it.count()):
        raise RolloutOfNothing({})
    if row.state in GOING:
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
    record([_created(back, now)])
    _go(back, now)
    return back


def hold(deployment: Deployment) -> Deployment:
    """Lock it, as whoever changes it does first.

    Raises:
        NoSuchRollout: it was dropped meanwhile.
    """
    rows = Deployment.objects.select_related("product", "package__product")
    row: Deployment | None = (
        rows.select_for_update(of=("self",)).filter(pk=deployment.pk).first()
    )
    if row is None:
        raise NoSuchRollout
    return row


def move_wave(row: Deployment, wave: DeploymentWave, state: str, now: datetime) -> None:
    """A wave of a held deployment is in another state now."""
    wave.state = state
    if state == Wave.RUNNING:
        wave.opened_at = wave.opened_at or now
    wave.ended_at = None if state == Wave.RUNNING else now
    wave.save(update_fields=["state", "opened_at", "ended_at"])
    record([RolloutWaveMoved(**about(row, now), wave=wave.number, state=state)])


def move(row: Deployment, state: str, now: datetime, *, reason: str = "") -> None:
    """A held deployment is in another state now."""
    _move(row, state, now, reason=reason)


def about(row: Deployment, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "at": now,
        "rollout": str(row.pk),
        "title": row.name,
    }


def _go(row: Deployment, now: datetime) -> None:
    is_early = row.starts_at is not None and row.starts_at > now
    row.counts_from = row.counts_from or now
    row.ended_at = None
    _move(row, State.SCHEDULED if is_early else State.RUNNING, now)


def _abort(row: Deployment, reason: str, now: datetime) -> None:
    row.ended_at = row.ended_at or now
    for wave in row.waves.filter(state=Wave.RUNNING):
        move_wave(row, wave, Wave.FAILED, now)
    _move(row, State.ABORTED, now, reason=reason.strip()[:200])


def _move(row: Deployment, state: str, now: datetime, *, reason: str = "") -> None:
    before, row.state = row.state, state
    row.due_at = None if state in NOT_BEGUN else now
    row.save()
    if before != state:
        fact = RolloutMoved(
            **about(row, now),
            state=state,
            devices=row.counted,
            reason=reason,
            changes={"state": (before, state)},
        )
        record([fact])
    _wake_after_commit()


def _plan(
    package: SoftwareUpdate, agreed: Terms, begun: Deployment | None = None
) -> Plan:
    plan = targets.plan(package, filter=agreed.filter, sizes=agreed.waves, begun=begun)
    if not plan.eligible:
        raise RolloutOfNothing(plan.left_out)
    return plan


def _write_waves(row: Deployment, sizes: Sequence[Size], plan: Plan) -> None:
    """Those that have begun are gone through once more, if they are larger now."""
    known = {wave.number: wave for wave in row.waves.all()}
    for number, size in enumerate(sizes, start=1):
        wave = known.pop(number, None) or DeploymentWave(deployment=row, number=number)
        ceiling = plan.waves[number - 1].ceiling
        if wave.state != Wave.WAITING:
            ceiling = max(ceiling, wave.ceiling or 0)
            if (wave.percent, wave.count) != (size.percent, size.count):
                wave.position, wave.is_open, wave.state = None, False, Wave.RUNNING
        wave.percent, wave.count = size.percent, size.count
        wave.starts_at, wave.ceiling = size.starts_at, ceiling
        wave.save()
    for wave in known.values():
        wave.delete()


def _check_released(package: SoftwareUpdate) -> None:
    if package.state != SoftwareUpdate.State.RELEASED:
        raise PackageNotReleased(package.state)


def _created(row: Deployment, now: datetime) -> RolloutCreated:
    return RolloutCreated(
        **about(row, now),
        package=str(row.package_id) if row.package_id else None,
        rolls_back=str(row.rolls_back_id) if row.rolls_back_id else None,
    )


def _wake_after_commit() -> None:
    for waker in _wake:
        transaction.on_commit(waker, robust=True)
