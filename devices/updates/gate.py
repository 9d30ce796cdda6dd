"""Whether a rollout goes on: by what was seen of the devices that have tried."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Count, Q

from devices.models import Device
from devices.updates import confidence, deployments
from devices.updates.models import (
    UNDER_WAY,
    Deployment,
    DeploymentWave,
    Status,
    UpdateStatus,
)

Wave = DeploymentWave.State

TRIED = (*UNDER_WAY, Status.COMPLETED, Status.FAILED, Status.ROLLED_BACK)
SUCCEEDED = (Status.COMPLETED, Status.ROLLED_BACK)  # one that is taken back worked


def count(row: Deployment, now: datetime) -> None:
    """Note on each wave how many of its devices have come how far.

    `unreached` are those among the pending that are offline or in quarantine: of a wave
    that is not over they are counted, of one that has passed they are all that wait.
    """
    rows = UpdateStatus.objects.filter(deployment=row).order_by()
    counts: dict[Any, dict[str, int]] = {}
    for wave_id, status, number in rows.values_list("wave", "status").annotate(
        number=Count("pk")
    ):
        counts.setdefault(wave_id, {})[status] = number
    for wave in row.waves.exclude(state=Wave.WAITING):
        told = counts.get(wave.pk, {})
        if (pending := told.get(Status.PENDING, 0)) and wave.state != Wave.PASSED:
            waiting = rows.filter(wave=wave, status=Status.PENDING)
            pending -= waiting.filter(
                device__status=Device.Status.ONLINE, device__quarantined_at__isnull=True
            ).count()
        wave.counts, wave.counted_at = {**told, "unreached": pending}, now
        wave.save(update_fields=["counts", "counted_at"])


def too_many_fail(row: Deployment) -> str:
    """Why the rollout is to pause; empty: it is not.

    By the lower bound of what share fails: so few devices prove nothing.
    """
    ended = UpdateStatus.objects.filter(
        deployment=row, ended_at__gte=row.counts_from, status__in=(*SUCCEEDED, "failed")
    )
    told = ended.aggregate(
        tried=Count("pk"), failed=Count("pk", filter=Q(status=Status.FAILED))
    )
    failed, tried = told["failed"], told["tried"]
    if not confidence.exceeds(failed, tried, row.failure_percent / 100):
        return ""
    least = 100 * confidence.lower_bound(failed, tried)
    return (
        f"{failed:,} of {tried:,} devices have failed: at least {least:.1f} %"
        f" do, and {row.failure_percent:g} % may."
    )


def has_passed(row: Deployment, wave: DeploymentWave) -> bool:
    """Whether what follows may begin, by the counts of a wave.

    Every device has it before it; whoever can be reached has tried; and of those that
    have, so many succeeded. A wave in which nobody could be reached has shown nothing.
    """
    if not wave.is_open:
        return False
    told: Mapping[str, int] = wave.counts
    if told.get(Status.PENDING, 0) > told.get("unreached", 0):
        return False
    tried = sum(told.get(status, 0) for status in TRIED)
    good = sum(told.get(status, 0) for status in SUCCEEDED)
    if not tried:
        return not told.get(Status.PENDING, 0)  # it is empty, or all were cancelled
    return 100 * good >= row.success_percent * tried


def waits_for(row: Deployment, wave: DeploymentWave) -> str:
    """What keeps a wave from passing, in a sentence; empty where nothing does."""
    told: Mapping[str, int] = wave.counts
    if wave.state != Wave.RUNNING or has_passed(row, wave):
        return ""
    if not wave.is_open:
        return "Its devices are being told."
    reachable = told.get(Status.PENDING, 0) - told.get("unreached", 0)
    if reachable > 0:
        return f"{reachable:,} devices that can be reached have not begun."
    tried = sum(told.get(status, 0) for status in TRIED)
    if not tried:
        return "None of its devices could be reached yet."
    good = sum(told.get(status, 0) for status in SUCCEEDED)
    return (
        f"{good:,} of {tried:,} that have begun have succeeded:"
        f" {row.success_percent:g} % are asked for."
    )


def judge(row: Deployment, now: datetime) -> None:
    """Pause a held, running deployment; or open its next wave; or say that it is over."""
    wave = row.waves.filter(state=Wave.RUNNING).first()
    if reason := too_many_fail(row):
        if wave is not None:
            deployments.move_wave(row, wave, Wave.FAILED, now)
        row.paused_because = reason[:200]
        deployments.move(row, Deployment.State.PAUSED, now, reason=reason)
        return
    if wave is not None:
        if not has_passed(row, wave):
            return
        deployments.move_wave(row, wave, Wave.PASSED, now)
    following = row.waves.filter(state=Wave.WAITING).first()
    if following is None:
        row.ended_at = now
        deployments.move(row, Deployment.State.FINISHED, now)
    elif following.starts_at is None or following.starts_at <= now:
        deployments.move_wave(row, following, Wave.RUNNING, now)
