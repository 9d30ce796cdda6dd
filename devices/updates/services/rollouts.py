"""Create, change and delete rollouts, and change their states."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from core.querysets import first_or_raise
from core.tasks import enqueue_on_commit
from devices.updates.errors import (
    NoEligibleDevices,
    PackageNotReleased,
    RolloutNotFound,
    RolloutStateConflict,
)
from devices.updates.events import (
    RolloutChanged,
    RolloutCreated,
    RolloutStateChanged,
    RolloutWaveStateChanged,
)
from devices.updates.models import Deployment, DeploymentWave, SoftwareUpdate
from devices.updates.services import rollout_settings, targets
from devices.updates.services.rollout_settings import RolloutSettings
from devices.updates.services.targets import Plan, WaveSize
from events.services.outbox import record
from tenants.models import User

State = Deployment.State
Wave = DeploymentWave.State

NOT_STARTED = (State.DRAFT, State.WAITING)
ACTIVE = (State.SCHEDULED, State.RUNNING, State.PAUSED)


def preview(*, package: SoftwareUpdate, values: Mapping[str, Any], now: datetime) -> Plan:
    """Return the devices that a rollout would reach now. Nothing is stored.

    Args:
        values: settings that differ from the defaults.

    Raises:
        InvalidRollout, InvalidFilter: the settings are invalid.
        PackageNotReleased: the package is a draft or withdrawn.
    """
    settings = rollout_settings.validate(RolloutSettings(), values)
    check_released(package)
    return targets.plan(package, filter=settings.filter, sizes=settings.waves, now=now)


@transaction.atomic
def create(
    *, package: SoftwareUpdate, name: str = "", values: Mapping[str, Any], by: User, now: datetime
) -> Deployment:
    """Create a draft of a rollout. No device is offered the update before the start.

    Args:
        name: name of the rollout; by default the product and the version.
        values: settings that differ from the defaults.

    Raises:
        NoEligibleDevices: no device would be updated.
        InvalidRollout, InvalidFilter, PackageNotReleased: see `preview`.
    """
    settings = rollout_settings.validate(RolloutSettings(), values)
    check_released(package)
    plan = build_plan(package, settings, now=now)
    rollout = Deployment(
        name=name.strip()[:120] or f"{package.product.name} {package.version}",
        product=package.product,
        package=package,
        counted=plan.eligible,
        created_by=by,
        created_at=now,
    )
    rollout_settings.apply_settings(rollout, settings)
    rollout.save(force_insert=True)
    write_waves(rollout, settings.waves, plan)
    record([created_event(rollout, now)])
    return rollout


@transaction.atomic
def change(
    *, deployment: Deployment, name: str | None = None, now: datetime, **values: Any
) -> Deployment:
    """Change a rollout's settings. A rollout that waits for approval becomes a draft again.

    The filter and the start time of a started rollout cannot be changed. Waves can be
    added or made larger. This adds devices, and no device moves to another wave.

    Args:
        values: new values. The keys are field names of `RolloutSettings`.

    Raises:
        InvalidRollout, InvalidFilter: the settings are invalid.
        NoEligibleDevices: no device would be updated.
        RolloutStateConflict: the rollout has ended, or it is a rollback.
    """
    rollout = lock_rollout(deployment)
    is_over = rollout.state in (State.FINISHED, State.ABORTED)
    if is_over or rollout.package is None:
        sentence = "The settings of this rollout cannot be changed any more."
        raise RolloutStateConflict(rollout.state, sentence)
    before = rollout_settings.settings_of(rollout)
    settings = rollout_settings.validate(before, values)
    is_started = rollout.state in ACTIVE
    if is_started:
        rollout_settings.validate_change(rollout, before, settings)
    else:
        rollout.state = State.DRAFT
        rollout.requested_by, rollout.requested_at = None, None
    changes = rollout_settings.changes(before, settings)
    if name is not None and name.strip() and name.strip() != rollout.name:
        changes["name"] = (rollout.name, name.strip()[:120])
        rollout.name = name.strip()[:120]
    rollout_settings.apply_settings(rollout, settings)
    if before.waves != settings.waves or before.filter != settings.filter:
        started = rollout if is_started else None
        plan = build_plan(rollout.package, settings, started, now=now)
        if not is_started:  # a started rollout keeps the approved number of devices
            rollout.counted = plan.eligible
        write_waves(rollout, settings.waves, plan)
    rollout.due_at = now if is_started else None
    rollout.save()
    if changes:
        record([RolloutChanged(**event_fields(rollout, now), changes=changes)])
    advance_on_commit()
    return rollout


@transaction.atomic
def delete(*, deployment: Deployment) -> None:
    """Delete a rollout that has not started.

    Raises:
        RolloutStateConflict: the rollout has started. It can only be aborted.
    """
    rollout = lock_rollout(deployment)
    if rollout.state not in NOT_STARTED:
        raise RolloutStateConflict(rollout.state)
    rollout.delete()


def lock_rollout(deployment: Deployment) -> Deployment:
    """Lock and return a rollout. Every change of a rollout locks it first.

    Raises:
        RolloutNotFound: the rollout was deleted.
    """
    rows = Deployment.objects.select_related("product", "package__product")
    return first_or_raise(
        rows.select_for_update(of=("self",)).filter(pk=deployment.pk), RolloutNotFound
    )


def change_wave_state(rollout: Deployment, wave: DeploymentWave, state: str, now: datetime) -> None:
    """Set the state of a wave of a locked rollout, and record the event."""
    wave.state = state
    if state == Wave.RUNNING:
        wave.opened_at = wave.opened_at or now
    wave.held_at = None
    wave.ended_at = None if state == Wave.RUNNING else now
    wave.save(update_fields=["state", "opened_at", "ended_at", "held_at"])
    event = RolloutWaveStateChanged(**event_fields(rollout, now), wave=wave.number, state=state)
    record([event])


def change_state(rollout: Deployment, state: str, now: datetime, *, reason: str = "") -> None:
    """Set the state of a locked rollout, save it, and record the event."""
    before, rollout.state = rollout.state, state
    rollout.due_at = None if state in NOT_STARTED else now
    rollout.save()
    if before != state:
        event = RolloutStateChanged(
            **event_fields(rollout, now),
            state=state,
            devices=rollout.counted,
            reason=reason,
            changes={"state": (before, state)},
        )
        record([event])
    advance_on_commit()


def event_fields(rollout: Deployment, now: datetime) -> dict[str, Any]:
    """Return the fields that all events of a rollout have."""
    return {
        "tenant_id": rollout.tenant_id,
        "at": now,
        "rollout": str(rollout.pk),
        "title": rollout.name,
    }


def build_plan(
    package: SoftwareUpdate,
    settings: RolloutSettings,
    started: Deployment | None = None,
    *,
    now: datetime,
) -> Plan:
    """Count the devices of a rollout, wave by wave.

    Args:
        started: the rollout if it has started, otherwise None.

    Raises:
        NoEligibleDevices: no device would be updated.
        InvalidFilter: the filter is invalid.
    """
    plan = targets.plan(
        package, filter=settings.filter, sizes=settings.waves, rollout=started, now=now
    )
    if not plan.eligible:
        raise NoEligibleDevices(plan.left_out)
    return plan


def write_waves(rollout: Deployment, sizes: Sequence[WaveSize], plan: Plan) -> None:
    """Store the waves of a rollout. A started wave is opened again if its size changed."""
    waves = {wave.number: wave for wave in rollout.waves.all()}
    for number, size in enumerate(sizes, start=1):
        wave = waves.pop(number, None)
        if wave is None:
            wave = DeploymentWave(deployment=rollout, number=number)
        ceiling = plan.waves[number - 1].ceiling
        if wave.state != Wave.WAITING:
            ceiling = max(ceiling, wave.ceiling or 0)
            if (wave.percent, wave.count) != (size.percent, size.count):
                wave.position, wave.is_open, wave.state = None, False, Wave.RUNNING
                wave.ended_at = wave.held_at = None
        wave.percent, wave.count = size.percent, size.count
        wave.starts_at, wave.ceiling = size.starts_at, ceiling
        wave.save()
    for wave in waves.values():
        wave.delete()


def check_released(package: SoftwareUpdate) -> None:
    if package.state != SoftwareUpdate.State.RELEASED:
        raise PackageNotReleased(package.state)


def created_event(rollout: Deployment, now: datetime) -> RolloutCreated:
    return RolloutCreated(
        **event_fields(rollout, now),
        package=str(rollout.package_id) if rollout.package_id else None,
        rolls_back=str(rollout.rolls_back_id) if rollout.rolls_back_id else None,
    )


def advance_on_commit() -> None:
    """When the transaction commits, enqueue the task that advances rollouts."""
    enqueue_on_commit("devices.updates.tasks.advance_rollouts", expires=55)
