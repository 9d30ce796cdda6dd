"""Whether a rollout goes on: by what was seen of the devices that have tried."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet

from devices.registry.models import Device
from devices.updates import confidence
from devices.updates.events import RolloutHeld
from devices.updates.models import (
    UNDER_WAY,
    Deployment,
    DeploymentWave,
    Status,
    UpdateStatus,
)
from devices.updates.services import rollouts
from events.services.outbox import record

Wave = DeploymentWave.State
Counts = Mapping[str, int]

SUCCEEDED = (Status.COMPLETED, Status.ROLLED_BACK)  # one that is taken back worked
AWAY_FOR = timedelta(days=1)  # that who has it and is away is waited for
ENDED = (*SUCCEEDED, Status.FAILED)


def count(row: Deployment, now: datetime) -> None:
    """Note on each wave how many of its devices have come how far.

    `unreached` are those among the pending that are offline or in quarantine: of a wave
    that is not over they are counted, of one that has passed they are all that wait.
    `away` are those that came back with the version, and are offline now.
    """
    rows = UpdateStatus.objects.filter(deployment=row).order_by()
    counts: dict[Any, dict[str, int]] = {}
    for wave_id, status, number in rows.values_list("wave", "status").annotate(
        number=Count("pk")
    ):
        counts.setdefault(wave_id, {})[status] = number
    for wave in row.waves.exclude(state=Wave.WAITING):
        told = counts.get(wave.pk, {})
        mine = rows.filter(wave=wave)
        if (pending := told.get(Status.PENDING, 0)) and wave.state != Wave.PASSED:
            waiting = mine.filter(status=Status.PENDING)
            pending -= _at_hand(waiting).count()
        installed = mine.filter(status=Status.INSTALLING, installed_at__isnull=False)
        away = 0
        if told.get(Status.INSTALLING):
            away = installed.count() - _at_hand(installed).count()
        wave.counts = {**told, "unreached": pending, "away": away}
        wave.counted_at = now
        wave.save(update_fields=["counts", "counted_at"])


def too_many_fail(row: Deployment) -> str:
    """Why the rollout is to pause; empty: it is not.

    By the lower bound of what share fails of those that have tried: so few devices
    prove nothing. Who is still under way has tried as well: bad news travels faster
    than good, which has to prove itself first.
    """
    rows = UpdateStatus.objects.filter(deployment=row)
    ended = rows.filter(ended_at__gte=row.counts_from, status__in=ENDED).aggregate(
        tried=Count("pk"), failed=Count("pk", filter=Q(status=Status.FAILED))
    )
    failed = ended["failed"]
    if not failed:
        return ""
    # Who came back with the version and is away again has shown nothing yet.
    away = Q(installed_at__isnull=False) & ~Q(device__status=Device.Status.ONLINE)
    tried = ended["tried"] + rows.under_way().exclude(away).count()
    if not confidence.exceeds(failed, tried, row.failure_percent / 100):
        return ""
    least = 100 * confidence.lower_bound(failed, tried)
    return (
        f"{failed:,} of {tried:,} devices have failed: at least {least:.1f} %"
        f" do, and {row.failure_percent:g} % may."
    )


def has_passed(row: Deployment, wave: DeploymentWave) -> bool:
    """Whether what follows may begin, by the counts of a wave.

    Every device has it before it, and of those that can be reached so many succeeded.
    Who can be reached and has not begun counts like who is under way: a few of them
    hold nobody up. A wave in which nobody could be reached has shown nothing.
    """
    good, tried, reachable = _figures(wave.counts)
    if not wave.is_open:
        return False
    if not tried:
        return not wave.counts.get(Status.PENDING, 0)  # empty, or all were cancelled
    return 100 * good >= row.success_percent * (tried + reachable)


def is_settled(wave: DeploymentWave, now: datetime) -> bool:
    """Whether nothing more is to be expected of a wave.

    Who came back with the version and is away again is waited for, but not for ever.
    """
    told: Counts = wave.counts
    _, tried, reachable = _figures(told)
    away = told.get("away", 0)
    under_way = sum(told.get(s, 0) for s in UNDER_WAY) - away
    if not wave.is_open or not tried or reachable or under_way > 0:
        return False
    return not away or (wave.opened_at or now) <= now - AWAY_FOR


def waits_for(row: Deployment, wave: DeploymentWave, *, now: datetime) -> str:
    """What keeps a wave from passing, in a sentence; empty where nothing does."""
    if wave.state != Wave.RUNNING or has_passed(row, wave):
        return ""
    if not wave.is_open:
        return "Its devices are being told."
    good, tried, reachable = _figures(wave.counts)
    if not tried and not reachable:
        return "None of its devices could be reached yet."
    away = wave.counts.get("away", 0)
    asked = f"{row.success_percent:g} % are asked for"
    if is_settled(wave, now):
        return f"Only {good:,} of {tried:,} have succeeded: {asked}. It waits for you."
    told = f"{good:,} of {tried + reachable:,} have succeeded so far: {asked}."
    return f"{told} {away:,} that have it are away now." if away else told


def judge(row: Deployment, now: datetime) -> None:
    """Pause a held deployment that goes on; or open its next wave; or end it.

    A finished one, of which devices still come back, is only paused.
    """
    wave = row.waves.filter(state=Wave.RUNNING).first()
    if reason := too_many_fail(row):
        if (failing := wave or row.waves.last()) is not None:
            rollouts.move_wave(row, failing, Wave.FAILED, now)
        row.paused_because = reason[:200]
        rollouts.move(row, Deployment.State.PAUSED, now, reason=reason)
        return
    if row.state != Deployment.State.RUNNING:
        return
    following = row.waves.filter(state=Wave.WAITING).first()
    is_last = following is None or row.opened >= row.counted
    if wave is not None:
        if has_passed(row, wave):
            rollouts.move_wave(row, wave, Wave.PASSED, now)
        elif is_settled(wave, now) and is_last:
            rollouts.move_wave(row, wave, Wave.FAILED, now)
        else:
            _hold(row, wave, now)
            return
        if row.waves.filter(state=Wave.RUNNING).exists():
            return  # one that was made larger, beside the one that was open
    if following is None:
        row.ended_at = now
        rollouts.move(row, Deployment.State.FINISHED, now)
    elif following.starts_at is None or following.starts_at <= now:
        rollouts.move_wave(row, following, Wave.RUNNING, now)


def _hold(row: Deployment, wave: DeploymentWave, now: datetime) -> None:
    """Say once that a wave does not get on without a person."""
    if wave.held_at is not None or not is_settled(wave, now):
        return
    wave.held_at = now
    wave.save(update_fields=["held_at"])
    reason = waits_for(row, wave, now=now)
    about = rollouts.about(row, now)
    record([RolloutHeld(**about, wave=wave.number, reason=reason)])


def _figures(told: Counts) -> tuple[int, int, int]:
    """How many have succeeded, have tried, and could be reached but have not begun."""
    good = sum(told.get(status, 0) for status in SUCCEEDED)
    tried = sum(told.get(status, 0) for status in (*UNDER_WAY, *ENDED))
    reachable = told.get(Status.PENDING, 0) - told.get("unreached", 0)
    return good, tried, max(0, reachable)


def _at_hand(rows: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
    return rows.filter(
        device__status=Device.Status.ONLINE, device__quarantined_at__isnull=True
    )
