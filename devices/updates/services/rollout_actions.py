"""Apply the decisions of a step of a rollout, in the transaction of this step.

Locks are always taken in the same order: the deployment, the `NextSteps` rows by device
id, the `UpdateStatus` rows. First the update is offered to devices. This waits for locks.
Then the findings (see `rollout_decision.Finding`) are handled. This skips locked rows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from devices.monitoring.models import Alert
from devices.registry.models import Device
from devices.remote_control.services import push_notifications
from devices.updates.events import RolloutHeld
from devices.updates.models import Deployment, DeploymentWave, Status, UpdateStatus
from devices.updates.services import next_steps, rollout_snapshot, rollouts, status_changes
from devices.updates.services.retry_decision import retry_status
from devices.updates.services.rollout_decision import (
    Candidate,
    DeviceDecision,
    Finding,
    Opening,
    Progress,
    WaveDecision,
)
from devices.updates.services.status_changes import BATCH, SUPERSEDED
from devices.updates.services.wave_candidates import opened_in_minute
from events.services.outbox import record

Row = UpdateStatus
Handler = Callable[[Deployment, list[Row], datetime], None]

REVERTED = "The device had the new version and runs another one now."
ABORTED = "The rollout was aborted."
RETRIED_FIELDS = (
    "attempt",
    "status",
    "progress",
    "installed_at",
    "started_at",
    "heard_at",
    "status_since",
    "installations",
)


def apply_to_devices(rollout: Deployment, decision: DeviceDecision, *, now: datetime) -> bool:
    """Offer the update of a rollout to the next devices, and handle the findings.

    Returns:
        True if more devices may have to be handled immediately.
    """
    if decision.wait_until is not None:
        return False
    if decision.starts:
        rollouts.change_state(rollout, Deployment.State.RUNNING, now)
    if decision.opening is not None:
        _open(rollout, decision.opening, now)
    is_busy = decision.starts or decision.opening is not None
    candidates = rollout_snapshot.findings(rollout, now=now)
    for finding in decision.findings:
        limit = BATCH
        if finding == Finding.RETRIED:
            limit = min(limit, opened_in_minute(rollout, now=now)[2])
        found = candidates[finding].select_related("deployment__product")
        rows = status_changes.lock(found, limit=limit)
        if rows:
            _HANDLERS[finding](rollout, rows, now)
        can_repeat = finding in (Finding.RETRIED, Finding.STOPPED)
        is_busy |= bool(rows) if can_repeat else len(rows) == BATCH
    retried = candidates.get(Finding.RETRIED)
    if retried is not None and not retried.exists():
        rollout.retries_before = None
    return is_busy


def apply_to_waves(
    rollout: Deployment, progress: Progress, decision: WaveDecision, *, now: datetime
) -> None:
    """Store the counts of the waves, and change the states of the waves and the rollout."""
    waves = {wave.number: wave for wave in rollout.waves.all()}
    counted = [wave for wave in progress.waves if wave.counts]
    for figures in counted:
        wave = waves[figures.number]
        wave.counts, wave.counted_at = dict(figures.counts), now
    DeploymentWave.objects.bulk_update(
        [waves[figures.number] for figures in counted], ["counts", "counted_at"]
    )
    for number, state in decision.moves:
        wave = waves[number]
        if state == DeploymentWave.State.RUNNING and wave.is_open:  # late devices joined it
            wave.is_open, wave.position = False, None
            wave.save(update_fields=["is_open", "position"])
        rollouts.change_wave_state(rollout, wave, state, now)
    if decision.has_searched:
        rollout.searched_at = now
    if decision.pause_reason:
        rollout.paused_because = decision.pause_reason[:200]
        state = Deployment.State.PAUSED
        rollouts.change_state(rollout, state, now, reason=decision.pause_reason)
    if decision.finishes:
        rollout.ended_at = now
        rollouts.change_state(rollout, Deployment.State.FINISHED, now)
    if decision.held is not None:
        number, reason = decision.held
        waves[number].held_at = now
        waves[number].save(update_fields=["held_at"])
        event_fields = rollouts.event_fields(rollout, now)
        record([RolloutHeld(**event_fields, wave=number, reason=reason)])


def _open(rollout: Deployment, opening: Opening, now: datetime) -> None:
    wave = rollout.waves.get(number=opening.wave)
    offered = _offer(rollout, wave, opening.devices, now)
    since, opened, _ = opened_in_minute(rollout, now=now)
    rollout.paced_from, rollout.paced = since, opened + offered
    rollout.opened += offered
    rollout.counted = max(rollout.counted, rollout.opened)  # a dynamic rollout grows
    if opening.is_complete:
        wave.is_open = True
    else:
        wave.position = opening.position
    wave.save(update_fields=["is_open", "position"])


def _offer(
    rollout: Deployment, wave: DeploymentWave, candidates: Sequence[Candidate], now: datetime
) -> int:
    """Offer the update to devices and notify them. Return how many devices were offered it."""
    offered = {candidate.device_id: candidate for candidate in candidates}
    if not offered:
        return 0
    next_steps.mark_updates_waiting(offered)
    # Read after locking, so that devices retired or quarantined meanwhile get no update.
    eligible = Device.objects.not_retired().filter(quarantined_at__isnull=True)
    ids: set[UUID] = set(eligible.filter(pk__in=offered).values_list("pk", flat=True))
    status_changes.supersede(ids, rollout, now=now)
    UpdateStatus.objects.bulk_create(
        [
            UpdateStatus(
                deployment=rollout,
                wave=wave,
                device_id=pk,
                package_id=offered[pk].package_id,
                version=offered[pk].version,
                from_version=offered[pk].from_version,
                opened_at=now,
            )
            for pk in sorted(ids)
        ]
    )
    if excluded := offered.keys() - ids:
        next_steps.refresh_updates_waiting(excluded)
    push_notifications.notify_updates(ids)
    return len(ids)


def _start_soak_time(rollout: Deployment, rows: list[Row], now: datetime) -> None:
    _write(rows, status=Status.INSTALLING, progress=100, installed_at=now)


def _wait_again(rollout: Deployment, rows: list[Row], now: datetime) -> None:
    """Reset stalled downloads to pending, because the devices no longer report."""
    _write(rows, status=Status.PENDING, progress=0, started_at=None, status_since=None)


def _supersede(rollout: Deployment, rows: list[Row], now: datetime) -> None:
    status_changes.cancel(rows, code="superseded", sentence=SUPERSEDED, now=now)


def _stop(rollout: Deployment, rows: list[Row], now: datetime) -> None:
    status_changes.cancel(rows, code="aborted", sentence=ABORTED, now=now)


def _complete(rollout: Deployment, rows: list[Row], now: datetime) -> None:
    status_changes.complete(rows, now=now)


def _fail(reason_for: Callable[[Row], tuple[str, str]]) -> Handler:
    def act(rollout: Deployment, rows: list[Row], now: datetime) -> None:
        status_changes.fail(rows, reason_for, now=now)

    return act


def _fail_overdue(rollout: Deployment, rows: list[Row], now: datetime) -> None:
    minutes = rollout.deadline_minutes
    deadline = now - timedelta(minutes=minutes)

    def reason(row: Row) -> tuple[str, str]:
        if row.heard_at is not None and row.heard_at < deadline:
            return "not_back", "The device did not come back with the new version in time."
        sentence = f"The device was still installing the update after {minutes:,} minutes."
        return "installing_too_long", sentence

    status_changes.fail(rows, reason, now=now)


def _endless_download(row: Row) -> tuple[str, str]:
    return "downloading_too_long", "The device was still downloading the update after a day."


def _unreadable_version(row: Row) -> tuple[str, str]:
    return (
        "unreadable_version",
        f"The device reports {_reported(row)}, which this product's numbering cannot read.",
    )


def _kept_old_version(row: Row) -> tuple[str, str]:
    return (
        "kept_old_version",
        f"The device installed the update {row.installations} times and still runs"
        f" {_reported(row) or 'an unknown version'}.",
    )


def _reported(row: Row) -> str:
    return str(getattr(row.device, row.deployment.product.reports))


def _first_alert(row: Row) -> tuple[str, str]:
    alerts = Alert.every_tenant.raised_since(row.installed_at).filter(device=row.device_id)
    title = alerts.order_by("opened_at").values_list("title", flat=True).first()
    return "alert", f"The device raised an alert: {title}"


def _retry(rollout: Deployment, rows: list[Row], now: datetime) -> None:
    """Start another attempt for failed devices, or cancel updates that are obsolete.

    Another attempt counts for the rate of the rollout, as the first offer does.
    """
    devices = rollout_snapshot.failed_devices(rollout, rows)
    statuses = {row.pk: retry_status(devices[row.pk]) for row in rows}
    moved_on = [row for row in rows if statuses[row.pk] == Status.CANCELLED]
    status_changes.cancel(moved_on, code="superseded", sentence=SUPERSEDED, now=now)
    again = [row for row in rows if statuses[row.pk] != Status.CANCELLED]
    since, opened, _ = opened_in_minute(rollout, now=now)
    rollout.paced_from, rollout.paced = since, opened + len(again)
    for row in again:
        is_installed = statuses[row.pk] == Status.INSTALLING
        row.attempt += 1
        row.status = statuses[row.pk]
        row.progress = 100 if is_installed else 0
        row.installed_at = row.started_at = row.heard_at = now if is_installed else None
        row.status_since, row.installations = row.started_at, 0
    _write(again, error_code="", error="", ended_at=None, opened_at=now, also=RETRIED_FIELDS)


def _write(rows: Sequence[Row], *, also: Collection[str] = (), **columns: Any) -> None:
    """Set columns of locked rows. Refresh `update_waiting` of the devices in these rows."""
    if not rows:
        return
    for row in rows:
        for name, value in columns.items():
            setattr(row, name, value)
    UpdateStatus.objects.bulk_update(rows, [*columns, *also], batch_size=500)
    next_steps.refresh_updates_waiting({row.device_id for row in rows})


_HANDLERS: Mapping[Finding, Handler] = {
    Finding.ARRIVED: _start_soak_time,
    Finding.SUPERSEDED: _supersede,
    Finding.REVERTED: _fail(lambda row: ("reverted", REVERTED)),
    Finding.ALERTED: _fail(_first_alert),
    Finding.PROVEN: _complete,
    Finding.UNREADABLE: _fail(_unreadable_version),
    Finding.KEPT_OLD: _fail(_kept_old_version),
    Finding.OVERDUE: _fail_overdue,
    Finding.STALLED: _wait_again,
    Finding.ENDLESS: _fail(_endless_download),
    Finding.RETRIED: _retry,
    Finding.STOPPED: _stop,
}
