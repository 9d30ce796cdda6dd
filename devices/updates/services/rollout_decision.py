"""Decide what a rollout does next. Decisions use snapshots only, and no database.

Each step first decides about devices (`decide_devices`). If no more devices have to be
handled immediately, the step then decides about waves (`decide_waves`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from devices.updates import confidence
from devices.updates.models import UNDER_WAY, Deployment, DeploymentWave, Status

State = Deployment.State
WaveState = DeploymentWave.State
Counts = Mapping[str, int]

SUCCEEDED = (Status.COMPLETED, Status.ROLLED_BACK)  # a success still counts after a rollback
ENDED = (*SUCCEEDED, Status.FAILED)
WAIT_FOR_OFFLINE = timedelta(days=1)  # for devices that installed, then went offline

INTERVAL = timedelta(seconds=9)  # Celery beat runs due steps every ten seconds
INTERVAL_UNREACHABLE = timedelta(minutes=1)  # for ended rollouts, if no open update has started
INTERVAL_SEARCH = timedelta(minutes=10)  # for dynamic rollouts that have reached all devices
INTERVAL_OLD = timedelta(minutes=10)  # for rollouts that ended more than a day ago
RECENT = timedelta(days=1)


class Finding(StrEnum):
    """A reason to handle a device of a rollout. Findings are handled in the order of values."""

    ARRIVED = "arrived"  # online with the new version, so its soak time starts
    SUPERSEDED = "superseded"  # runs a newer version than the rollout's
    REVERTED = "reverted"  # had the new version and runs another one now
    ALERTED = "alerted"  # raised an alert in its soak time
    PROVEN = "proven"  # online with the new version after the soak time, without an alert
    UNREADABLE = "unreadable"  # installed it, and reports a version that cannot be read
    KEPT_OLD = "kept_old"  # installed it several times, and keeps another version
    OVERDUE = "overdue"  # installs for too long
    ENDLESS = "endless"  # reports for days that it downloads
    STALLED = "stalled"  # no message for too long while it downloaded
    RETRIED = "retried"  # failed, and a member asked for another attempt
    STOPPED = "stopped"  # has not started, and the rollout was aborted


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device that may get the update next.

    `fits` is False if the device should not get the update. `package_id` is None if a
    rollback returns the device to a version without a package.
    """

    device_id: UUID
    version: str
    package_id: UUID | None
    from_version: str
    fits: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The next devices of the wave that is being opened, ordered by id.

    Opening a wave means offering the update to its devices. `capacity` is how many devices
    may be offered the update now. `is_last` is True if no devices follow.
    """

    wave: int
    capacity: int
    candidates: Sequence[Candidate] = ()
    is_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """Snapshot of a rollout before a step.

    `batch` contains the devices that may be offered the update next. `findings` contains what
    needs an action in devices that were offered the update before.
    """

    state: str
    starts_at: datetime | None = None
    findings: frozenset[Finding] = frozenset()
    batch: Batch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Devices of a wave that get the update now.

    `position` is the id of the last device that was checked. `is_complete` is True if no
    device of the wave is left.
    """

    wave: int
    devices: Sequence[Candidate]
    position: UUID | None
    is_complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDecision:
    """The decisions of a step about devices. `findings` are handled in the given order."""

    wait_until: datetime | None = None
    starts: bool = False
    opening: Opening | None = None
    findings: Sequence[Finding] = ()


class Wave(Protocol):
    """The fields of a wave that decisions use. `DeploymentWave` and `WaveFigures` have them."""

    @property
    def state(self) -> str: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def opened_at(self) -> datetime | None: ...
    @property
    def counts(self) -> Counts: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveFigures:
    """A wave with the number of its devices in each status.

    `counts` has two more keys. `unreached` is the number of pending devices that are
    offline or quarantined. `away` is the number of devices that installed the version and
    are offline or quarantined in their soak time.
    """

    number: int
    state: str
    is_open: bool = False
    starts_at: datetime | None = None
    opened_at: datetime | None = None
    is_held: bool = False
    counts: Counts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Snapshot of a rollout and its waves, after the devices were handled.

    `failed` of `tried` devices count against the failure threshold. `is_waiting` is False
    if the rollout has ended and has no open updates. `is_started` is False if the rollout
    has ended and no device has started an open update. `is_retrying` is True if the rate has not
    yet allowed another attempt of all failed devices that a member wants to retry.

    A dynamic rollout is not finished when its last wave has ended. `has_late_devices` is True if
    it has found devices that match now; None if it has not searched in this step.
    """

    state: str
    waves: Sequence[WaveFigures]
    opened: int
    counted: int
    success_percent: float
    failure_percent: float
    failed: int
    tried: int
    is_waiting: bool
    is_started: bool
    is_retrying: bool = False
    is_dynamic: bool = False
    has_late_devices: bool | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveDecision:
    """The decisions of a step about waves.

    `held` has the number of a wave that needs a member's decision, and the reason.
    """

    pause_reason: str = ""
    moves: Sequence[tuple[int, str]] = ()  # wave number, new state
    held: tuple[int, str] | None = None
    finishes: bool = False
    has_searched: bool = False  # for late devices of a dynamic rollout
    interval: timedelta | None = None  # until the next step; None if no step follows

    @property
    def changes_rollout(self) -> bool:
        return bool(self.pause_reason or self.moves or self.finishes)


def decide_devices(snapshot: Devices, *, now: datetime) -> DeviceDecision:
    """Decide which devices get the update and which findings are handled."""
    if snapshot.state == State.SCHEDULED:
        starts_at = snapshot.starts_at
        if starts_at is not None and starts_at > now:
            return DeviceDecision(wait_until=starts_at)
        return DeviceDecision(starts=True)
    findings = set(snapshot.findings)
    if Finding.ARRIVED in findings:  # without a soak time, arrived devices are proven at once
        findings.add(Finding.PROVEN)
    return DeviceDecision(
        opening=None if snapshot.batch is None else _opening(snapshot.batch),
        findings=[finding for finding in Finding if finding in findings],
    )


def decide_waves(progress: Progress, *, now: datetime) -> WaveDecision:
    """Decide whether to pause or finish the rollout, and whether to change its waves.

    The only decision about a finished rollout is to pause it, if too many late devices fail.
    """
    interval = _interval(progress, now)
    if progress.state not in (State.RUNNING, State.FINISHED):
        return WaveDecision(interval=interval)
    running = [wave for wave in progress.waves if wave.state == WaveState.RUNNING]
    if reason := too_many_fail(progress):
        failing = [*running[:1], *progress.waves[-1:]][:1]
        return WaveDecision(
            pause_reason=reason,
            moves=[(wave.number, WaveState.FAILED) for wave in failing],
            interval=interval,
        )
    if progress.state != State.RUNNING or progress.is_retrying:
        return WaveDecision(interval=interval)
    waiting = [wave for wave in progress.waves if wave.state == WaveState.WAITING]
    moves: list[tuple[int, str]] = []
    if running:
        wave, *others = running
        is_complete = progress.opened >= progress.counted and not progress.is_dynamic
        is_last = not waiting or is_complete
        if has_passed(wave, success_percent=progress.success_percent):
            moves.append((wave.number, WaveState.PASSED))
        elif not is_settled(wave, now=now):
            return WaveDecision(interval=interval)
        elif is_last:
            moves.append((wave.number, WaveState.FAILED))
        else:
            return WaveDecision(held=_held(wave, progress, now), interval=interval)
        if others:  # an enlarged wave and the current wave are both running
            return WaveDecision(moves=moves, interval=interval)
    if not waiting:
        return _end(progress, moves, interval)
    following = waiting[0]
    if following.starts_at is None or following.starts_at <= now:
        moves.append((following.number, WaveState.RUNNING))
    return WaveDecision(moves=moves, interval=interval)


def _end(
    progress: Progress, moves: list[tuple[int, str]], interval: timedelta | None
) -> WaveDecision:
    """Finish a rollout whose last wave has ended. A dynamic one waits for late devices instead."""
    if not progress.is_dynamic:
        return WaveDecision(moves=moves, finishes=True, interval=interval)
    if progress.has_late_devices:
        moves = [*moves, (progress.waves[-1].number, WaveState.RUNNING)]
    has_searched = progress.has_late_devices is not None
    return WaveDecision(moves=moves, has_searched=has_searched, interval=interval)


def too_many_fail(progress: Progress) -> str:
    """Return the reason to pause the rollout as text; empty if too few devices fail.

    The lower confidence bound of the failure rate is compared with the threshold, so that
    a few failures among few devices do not pause the rollout. Failures are reported sooner
    than successes, because a success has a soak time. Therefore devices that are under way
    count as tried.
    """
    failed, tried = progress.failed, progress.tried
    if not failed or not confidence.exceeds(failed, tried, progress.failure_percent / 100):
        return ""
    bound = 100 * confidence.lower_bound(failed, tried)
    return (
        f"{failed:,} of {tried:,} devices failed. The failure rate is at least"
        f" {bound:.1f} %, but only {progress.failure_percent:g} % is allowed."
    )


def has_passed(wave: Wave, *, success_percent: float) -> bool:
    """Return True if a wave has passed, so that the next wave may start.

    Every device must have been offered the update, and `success_percent` of the reachable
    devices must have succeeded. Reachable devices that have not started count as not
    successful. A wave in which no device could be reached has not passed.
    """
    succeeded, tried, reachable = _figures(wave.counts)
    if not wave.is_open:
        return False
    if not tried:
        return not wave.counts.get(Status.PENDING, 0)  # no devices, or all updates were cancelled
    return 100 * succeeded >= success_percent * (tried + reachable)


def is_settled(wave: Wave, *, now: datetime) -> bool:
    """Return True if no more results are expected from a wave.

    Devices that installed the version and went offline can still give results until one
    day after the start of the wave.
    """
    _, tried, reachable = _figures(wave.counts)
    away = wave.counts.get("away", 0)
    under_way = sum(wave.counts.get(status, 0) for status in UNDER_WAY) - away
    if not wave.is_open or not tried or reachable or under_way > 0:
        return False
    return not away or (wave.opened_at or now) <= now - WAIT_FOR_OFFLINE


def waits_for(wave: Wave, *, success_percent: float, now: datetime) -> str:
    """Return what a running wave waits for, as a sentence; empty if nothing."""
    passed = has_passed(wave, success_percent=success_percent)
    if wave.state != WaveState.RUNNING or passed:
        return ""
    if not wave.is_open:
        return "The update is being offered to the devices of the wave."
    succeeded, tried, reachable = _figures(wave.counts)
    if not tried and not reachable:
        return "None of the wave's devices could be reached yet."
    required = f"{success_percent:g} % required"
    if is_settled(wave, now=now):
        return (
            f"Only {succeeded:,} of {tried:,} devices succeeded ({required})."
            " The rollout waits for your decision."
        )
    text = f"{succeeded:,} of {tried + reachable:,} devices succeeded so far"
    if away := wave.counts.get("away", 0):
        return f"{text} ({required}); {away:,} have the version and are offline now."
    return f"{text} ({required})."


def _held(wave: WaveFigures, progress: Progress, now: datetime) -> tuple[int, str] | None:
    """Return the number of a held wave and what it waits for.

    Return None if the event that the wave is held was published already.
    """
    if wave.is_held:
        return None
    percent = progress.success_percent
    return wave.number, waits_for(wave, success_percent=percent, now=now)


def _opening(batch: Batch) -> Opening | None:
    """Return the first devices of a batch that fit; None if the rate allows no more devices."""
    if batch.capacity <= 0 and not batch.is_last:
        return None
    devices: list[Candidate] = []
    for candidate in batch.candidates:
        if candidate.fits:
            devices.append(candidate)
        if len(devices) == batch.capacity:
            return Opening(
                wave=batch.wave, devices=devices, position=candidate.device_id, is_complete=False
            )
    last = batch.candidates[-1].device_id if batch.candidates else None
    return Opening(wave=batch.wave, devices=devices, position=last, is_complete=batch.is_last)


def _interval(progress: Progress, now: datetime) -> timedelta | None:
    """Return the time until the next step of a rollout; None if no further step is needed."""
    is_over = progress.state in (State.FINISHED, State.ABORTED)
    is_idle = progress.has_late_devices is False and not progress.is_waiting
    if progress.state == State.RUNNING and is_idle:
        return INTERVAL_SEARCH
    if not is_over or progress.is_retrying:
        return INTERVAL
    if not progress.is_waiting:
        return None
    if progress.ended_at is not None and progress.ended_at < now - RECENT:
        return INTERVAL_OLD
    return INTERVAL if progress.is_started else INTERVAL_UNREACHABLE


def _figures(counts: Counts) -> tuple[int, int, int]:
    """Return how many devices succeeded, how many started, and how many could start now."""
    succeeded = sum(counts.get(status, 0) for status in SUCCEEDED)
    tried = sum(counts.get(status, 0) for status in (*UNDER_WAY, *ENDED))
    reachable = counts.get(Status.PENDING, 0) - counts.get("unreached", 0)
    return succeeded, tried, max(0, reachable)
