"""Start, approve, pause, resume, abort, retry and roll back rollouts."""

from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from core.querysets import first_or_raise
from devices.updates.errors import NoEligibleDevices, RolloutStateConflict, SecondApproverRequired
from devices.updates.events import RolloutRetried
from devices.updates.models import (
    UNDER_WAY,
    Deployment,
    DeploymentWave,
    SoftwareUpdate,
    UpdateStatus,
)
from devices.updates.services import policies, rollout_settings, targets
from devices.updates.services.rollouts import (
    ACTIVE,
    NOT_STARTED,
    State,
    Wave,
    build_plan,
    change_state,
    change_wave_state,
    check_released,
    created_event,
    event_fields,
    lock_rollout,
    write_waves,
)
from devices.updates.services.wave_candidates import rollback_candidates
from events.services.outbox import record
from tenants.models import User

WITHDRAWN = "The package was withdrawn."


@transaction.atomic
def start(*, deployment: Deployment, by: User, now: datetime) -> Deployment:
    """Start a draft rollout, now or at its start time. A large rollout waits for approval.

    The rollout includes only devices that are registered now. The devices are counted now,
    and the rollout never includes more devices than this number.

    Raises:
        RolloutStateConflict: the rollout is not a draft.
        NoEligibleDevices: no device would be updated any more.
        PackageNotReleased: the package was withdrawn.
    """
    rollout = lock_rollout(deployment)
    if rollout.state != State.DRAFT or rollout.package is None:
        raise RolloutStateConflict(rollout.state)
    check_released(rollout.package)
    settings = rollout_settings.settings_of(rollout)
    plan = build_plan(rollout.package, settings, now=now)
    write_waves(rollout, settings.waves, plan)
    rollout.counted, rollout.begun_at = plan.eligible, now
    rollout.requested_by, rollout.requested_at = by, now
    if plan.eligible > policies.current_policy().approval_above:
        change_state(rollout, State.WAITING, now)
    else:
        _start_or_schedule(rollout, now)
    return rollout


@transaction.atomic
def approve(*, deployment: Deployment, by: User, now: datetime) -> Deployment:
    """Approve a rollout that another member created and started.

    Raises:
        RolloutStateConflict: the rollout does not wait for approval.
        SecondApproverRequired: `by` created or started the rollout.
        PackageNotReleased: the package was withdrawn.
    """
    rollout = lock_rollout(deployment)
    if rollout.state != State.WAITING or rollout.package is None:
        raise RolloutStateConflict(rollout.state)
    if by.pk in (rollout.requested_by_id, rollout.created_by_id):
        raise SecondApproverRequired
    check_released(rollout.package)
    rollout.approved_by = by
    _start_or_schedule(rollout, now)
    return rollout


@transaction.atomic
def pause(*, deployment: Deployment, reason: str = "", now: datetime) -> Deployment:
    """Pause a rollout. Devices that have started the update continue.

    Raises:
        RolloutStateConflict: the rollout is neither scheduled nor running, and it is not
            a finished rollout with open updates.
    """
    rollout = lock_rollout(deployment)
    is_active = rollout.state in (State.RUNNING, State.SCHEDULED)
    if not is_active and not _has_late_devices(rollout):
        raise RolloutStateConflict(rollout.state)
    rollout.paused_because = reason.strip()[:200]
    change_state(rollout, State.PAUSED, now, reason=rollout.paused_because)
    return rollout


@transaction.atomic
def resume(*, deployment: Deployment, now: datetime) -> Deployment:
    """Resume a paused rollout. Earlier failures no longer count for the failure threshold.

    Raises:
        RolloutStateConflict: the rollout is not paused.
    """
    rollout = lock_rollout(deployment)
    if rollout.state != State.PAUSED:
        raise RolloutStateConflict(rollout.state)
    rollout.counts_from, rollout.paused_because = now, ""
    rollout.waves.filter(state=Wave.FAILED).update(state=Wave.RUNNING, ended_at=None, held_at=None)
    _start_or_schedule(rollout, now)
    return rollout


@transaction.atomic
def abort(*, deployment: Deployment, reason: str = "", now: datetime) -> Deployment:
    """Abort a rollout. Updates that are not being installed yet are cancelled.

    Devices that are installing continue, and their results are recorded.

    Raises:
        RolloutStateConflict: the rollout is a draft, is aborted, or is finished without
            open updates.
    """
    rollout = lock_rollout(deployment)
    is_active = rollout.state in (*ACTIVE, State.WAITING)
    if not is_active and not _has_late_devices(rollout):
        raise RolloutStateConflict(rollout.state)
    _abort(rollout, reason, now)
    return rollout


def abort_all(*, package: SoftwareUpdate, now: datetime) -> None:
    """Abort all rollouts of a package, in the transaction that withdraws it."""
    rows = Deployment.objects.filter(package=package).exclude(state=State.ABORTED)
    for rollout in rows.select_for_update(of=("self",)).order_by("pk"):
        _abort(rollout, WITHDRAWN, now)


@transaction.atomic
def retry(*, deployment: Deployment, now: datetime) -> Deployment:
    """Give the devices that have failed so far another attempt.

    Raises:
        RolloutStateConflict: the rollout's state does not allow another attempt, no device
            has failed, or the rollout is rolled back.
    """
    rollout = lock_rollout(deployment)
    if rollout.state not in (State.RUNNING, State.PAUSED, State.FINISHED):
        raise RolloutStateConflict(rollout.state)
    failed = UpdateStatus.objects.filter(deployment=rollout, status="failed")
    if not failed.exists():
        raise RolloutStateConflict(rollout.state, "No device has failed.")
    if _active_rollbacks(rollout).exists():
        raise RolloutStateConflict(rollout.state, "The rollout is rolled back.")
    rollout.retries_before = rollout.counts_from = now
    waves = rollout.waves.filter(pk__in=failed.values("wave")) | rollout.waves.filter(
        state=Wave.FAILED
    )
    rollout.waves.filter(pk__in=list(waves.values_list("pk", flat=True))).update(
        state=Wave.RUNNING, ended_at=None, held_at=None
    )
    record([RolloutRetried(**event_fields(rollout, now))])
    _start_or_schedule(rollout, now)
    return rollout


@transaction.atomic
def start_next_wave(*, deployment: Deployment, now: datetime) -> Deployment:
    """Start the next wave, regardless of the results of the current wave.

    Raises:
        RolloutStateConflict: the rollout is not running, the current wave is still being
            opened, or there is no other wave.
    """
    rollout = lock_rollout(deployment)
    if rollout.state != State.RUNNING:
        raise RolloutStateConflict(rollout.state)
    running = list(rollout.waves.filter(state=Wave.RUNNING))
    following = first_or_raise(
        rollout.waves.filter(state=Wave.WAITING),
        RolloutStateConflict(rollout.state, "The rollout has no other wave."),
    )
    if not all(wave.is_open for wave in running):
        sentence = "The update is still being offered to the devices of the wave."
        raise RolloutStateConflict(rollout.state, sentence)
    for wave in running:
        change_wave_state(rollout, wave, Wave.PASSED, now)
    following.starts_at = None
    following.save(update_fields=["starts_at"])
    _start_or_schedule(rollout, now)
    return rollout


@transaction.atomic
def roll_back(*, deployment: Deployment, by: User, now: datetime) -> Deployment:
    """Return each device that installed the update to its previous version.

    A rollback is a new rollout with one wave and without thresholds. The
    original rollout is aborted. Devices that are installing the update now are added
    to the rollback when they have finished (see `extend_rollback`).

    Returns:
        The rollback.

    Raises:
        RolloutStateConflict: the rollout has not started, is a rollback itself, or is
            rolled back already.
        NoEligibleDevices: no device installed the update.
    """
    rollout = lock_rollout(deployment)
    if rollout.package is None or rollout.state in (*NOT_STARTED, State.SCHEDULED):
        raise RolloutStateConflict(rollout.state)
    if (existing := _active_rollbacks(rollout).first()) is not None:
        if not extend_rollback(rollout, now):
            sentence = "The rollout is already rolled back."
            raise RolloutStateConflict(rollout.state, sentence)
        return lock_rollout(existing)
    number = rollback_candidates(rollout).count()
    if not number and not rollout.statuses.filter(status__in=UNDER_WAY).exists():
        raise NoEligibleDevices({})
    if rollout.state != State.ABORTED:
        _abort(rollout, "The rollout is rolled back.", now)
    rollback = Deployment.objects.create(
        name=f"Rollback of {rollout.name}"[:120],
        product=rollout.product,
        rolls_back=rollout,
        state=State.DRAFT,
        soak_minutes=rollout.soak_minutes,
        deadline_minutes=rollout.deadline_minutes,
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
        deployment=rollback, number=1, percent=100.0, ceiling=targets.POSITIONS
    )
    record([created_event(rollback, now)])
    _start_or_schedule(rollback, now)
    return rollback


def _has_late_devices(rollout: Deployment) -> bool:
    """Return True if the rollout is finished and still has open updates."""
    updates = UpdateStatus.objects.open().filter(deployment=rollout)
    return rollout.state == State.FINISHED and updates.exists()


def _active_rollbacks(rollout: Deployment) -> QuerySet[Deployment]:
    rollbacks = Deployment.objects.filter(rolls_back=rollout)
    return rollbacks.exclude(state=State.ABORTED)


def extend_rollback(rollout: Deployment, now: datetime) -> bool:
    """Add devices to the rollback of a rollout, if they have installed the update meanwhile.

    Args:
        rollout: the original rollout, whose row is locked.

    Returns:
        True if devices were added.
    """
    existing = _active_rollbacks(rollout).first()
    if existing is None:
        return False
    rollback = lock_rollout(existing)
    statuses = rollback.statuses.filter(device=OuterRef("device"))
    new = rollback_candidates(rollout).filter(~Exists(statuses)).count()
    if not new or rollback.opened + new <= rollback.counted:
        return False
    rollback.counted = rollback.opened + new
    rollback.waves.update(state=Wave.RUNNING, position=None, is_open=False, ended_at=None)
    if rollback.state == State.PAUSED:  # only a member resumes it
        rollback.save(update_fields=["counted"])
    else:
        _start_or_schedule(rollback, now)
    return True


def _start_or_schedule(rollout: Deployment, now: datetime) -> None:
    is_early = rollout.starts_at is not None and rollout.starts_at > now
    rollout.counts_from = rollout.counts_from or now
    rollout.ended_at = None
    change_state(rollout, State.SCHEDULED if is_early else State.RUNNING, now)


def _abort(rollout: Deployment, reason: str, now: datetime) -> None:
    rollout.ended_at = rollout.ended_at or now
    rollout.retries_before = None  # failed devices get no other attempt
    for wave in rollout.waves.filter(state=Wave.RUNNING):
        change_wave_state(rollout, wave, Wave.FAILED, now)
    change_state(rollout, State.ABORTED, now, reason=reason.strip()[:200])
