"""Rollouts as they are made and changed; and what moves them from state to state."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from core.tasks import enqueue_on_commit
from devices.updates.errors import (
    NoSuchRollout,
    PackageNotReleased,
    RolloutDecided,
    RolloutOfNothing,
)
from devices.updates.events import (
    RolloutChanged,
    RolloutCreated,
    RolloutMoved,
    RolloutWaveMoved,
)
from devices.updates.models import (
    Deployment,
    DeploymentWave,
    SoftwareUpdate,
)
from devices.updates.services import targets, terms
from devices.updates.services.targets import Plan, Size
from devices.updates.services.terms import Terms
from events.services.outbox import record
from tenants.models import User

State = Deployment.State
Wave = DeploymentWave.State

NOT_BEGUN = (State.DRAFT, State.WAITING)
GOING = (State.SCHEDULED, State.RUNNING, State.PAUSED)


def preview(*, package: SoftwareUpdate, said: Mapping[str, Any], now: datetime) -> Plan:
    """What a rollout would come to now; nothing is changed.

    Raises:
        InvalidRollout, InvalidFilter: its terms cannot be.
        PackageNotReleased: the package is a draft, or was withdrawn.
    """
    agreed = terms.checked(Terms(), said)
    check_released(package)
    return targets.plan(package, filter=agreed.filter, sizes=agreed.waves, now=now)


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
    check_released(package)
    plan = plan_of(package, agreed, now=now)
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
    write_waves(row, agreed.waves, plan)
    record([created(row, now)])
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
        plan = plan_of(row.package, agreed, row if has_begun else None, now=now)
        if not has_begun:  # later no more than were counted, and approved
            row.counted = plan.eligible
        write_waves(row, agreed.waves, plan)
    row.due_at = now if has_begun else None
    row.save()
    if changes:
        record([RolloutChanged(**about(row, now), changes=changes)])
    start_work_on_commit()
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
    wave.held_at = None
    wave.ended_at = None if state == Wave.RUNNING else now
    wave.save(update_fields=["state", "opened_at", "ended_at", "held_at"])
    record([RolloutWaveMoved(**about(row, now), wave=wave.number, state=state)])


def move(row: Deployment, state: str, now: datetime, *, reason: str = "") -> None:
    """A held deployment is in another state now; it is saved."""
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
    start_work_on_commit()


def about(row: Deployment, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "at": now,
        "rollout": str(row.pk),
        "title": row.name,
    }


def plan_of(
    package: SoftwareUpdate,
    agreed: Terms,
    begun: Deployment | None = None,
    *,
    now: datetime,
) -> Plan:
    plan = targets.plan(
        package, filter=agreed.filter, sizes=agreed.waves, begun=begun, now=now
    )
    if not plan.eligible:
        raise RolloutOfNothing(plan.left_out)
    return plan


def write_waves(row: Deployment, sizes: Sequence[Size], plan: Plan) -> None:
    """Those that have begun are gone through once more, if they are larger now."""
    known = {wave.number: wave for wave in row.waves.all()}
    for number, size in enumerate(sizes, start=1):
        wave = known.pop(number, None) or DeploymentWave(deployment=row, number=number)
        ceiling = plan.waves[number - 1].ceiling
        if wave.state != Wave.WAITING:
            ceiling = max(ceiling, wave.ceiling or 0)
            if (wave.percent, wave.count) != (size.percent, size.count):
                wave.position, wave.is_open, wave.state = None, False, Wave.RUNNING
                wave.ended_at = wave.held_at = None
        wave.percent, wave.count = size.percent, size.count
        wave.starts_at, wave.ceiling = size.starts_at, ceiling
        wave.save()
    for wave in known.values():
        wave.delete()


def check_released(package: SoftwareUpdate) -> None:
    if package.state != SoftwareUpdate.State.RELEASED:
        raise PackageNotReleased(package.state)


def created(row: Deployment, now: datetime) -> RolloutCreated:
    return RolloutCreated(
        **about(row, now),
        package=str(row.package_id) if row.package_id else None,
        rolls_back=str(row.rolls_back_id) if row.rolls_back_id else None,
    )


def start_work_on_commit() -> None:
    enqueue_on_commit("devices.updates.tasks.advance_rollouts", expires=55)
