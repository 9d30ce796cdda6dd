"""Record what devices report about their updates.

Reports can arrive in any order and repeatedly.
"""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from core.querysets import first_or_raise
from devices.registry.models import Device
from devices.updates import queries
from devices.updates.errors import UpdateEnded, UpdateNotFound
from devices.updates.models import Deployment, Status, UpdateStatus
from devices.updates.services import downloads, status_changes

DOWNLOADING = "downloading"
INSTALLING = "installing"
INSTALLED = "installed"
FAILED = "failed"
STATUSES = (DOWNLOADING, INSTALLING, INSTALLED, FAILED)
MAX_ERROR_LENGTH = 500  # characters

# Statuses accepted after the end of an update, because reports can be late or repeated.
LATE_STATUSES: dict[str, tuple[str, ...]] = {
    Status.COMPLETED: (DOWNLOADING, INSTALLING, INSTALLED),
    Status.ROLLED_BACK: (DOWNLOADING, INSTALLING, INSTALLED),
    Status.FAILED: STATUSES,
}


def record_feedback(
    *,
    device: Device,
    deployment_id: UUID,
    attempt: int | None,
    status: str,
    progress: int = 0,
    error_code: str = "",
    error: str = "",
    now: datetime,
) -> None:
    """Record a report of the current tenant's device about its update.

    A repeated report or a report of an earlier status changes nothing. `installed` does
    not complete the update. The update completes when the device is online with the new
    version and the soak time is over.

    Args:
        attempt: number of the attempt, from the offer. If it is None, or there is no such
            attempt yet, the report counts for the current one.
        status: one of `STATUSES`.
        progress: percent of the download or of the installation.

    Raises:
        UpdateNotFound: the device is not in this rollout.
        UpdateEnded: the update or this attempt has ended.
    """
    if attempt is None:
        attempt = _row(device, deployment_id).attempt
    if status == FAILED:
        downloads.release_slot(device.pk)
        _fail(device, deployment_id, attempt, error_code or "failed", error, now)
        return
    if status == INSTALLED:
        progress = 100
    elif status == INSTALLING:
        progress = min(progress, 99)
    is_recorded = queries.record_progress(
        device_id=device.pk,
        deployment_id=deployment_id,
        attempt=attempt,
        status=Status.DOWNLOADING if status == DOWNLOADING else Status.INSTALLING,
        progress=progress,
        now=now,
    )
    if status == DOWNLOADING:
        downloads.extend_slot(device.pk)
    else:
        downloads.release_slot(device.pk)
    if not is_recorded:
        row = _row(device, deployment_id)
        if attempt > row.attempt:
            record_feedback(
                device=device,
                deployment_id=deployment_id,
                attempt=row.attempt,
                status=status,
                progress=progress,
                now=now,
            )
            return
        _require_repeatable(row, attempt, status)


@transaction.atomic
def _fail(
    device: Device, deployment_id: UUID, attempt: int, error_code: str, error: str, now: datetime
) -> None:
    updates = UpdateStatus.objects.filter(device=device, deployment=deployment_id)
    updates = updates.open().filter(attempt=attempt)
    rows = status_changes.lock(updates.select_related("deployment"), skip_locked=False)
    if not rows:
        row = _row(device, deployment_id)
        if attempt > row.attempt:
            _fail(device, deployment_id, row.attempt, error_code, error, now)
            return
        _require_repeatable(row, attempt, FAILED)
        return
    if _is_aborted(rows[0]):
        raise UpdateEnded(Status.CANCELLED)
    rows[0].heard_at = now
    status_changes.fail(rows, lambda row: (error_code, error), now=now)


def _require_repeatable(row: UpdateStatus, attempt: int, status: str) -> None:
    """Accept a report that changed nothing, if it is late or repeated.

    Raises:
        UpdateEnded: the update or this attempt has ended.
    """
    if attempt < row.attempt:
        raise UpdateEnded("failed")
    if _is_aborted(row):
        raise UpdateEnded(Status.CANCELLED)
    if row.ended_at is not None and status not in LATE_STATUSES.get(row.status, ()):
        raise UpdateEnded(row.status)


def _is_aborted(row: UpdateStatus) -> bool:
    """Return True if the rollout of an update was aborted before the installation started."""
    is_aborted = row.deployment.state == Deployment.State.ABORTED
    return is_aborted and row.status in (Status.PENDING, Status.DOWNLOADING)


def _row(device: Device, deployment_id: UUID) -> UpdateStatus:
    rows = UpdateStatus.objects.filter(device=device, deployment=deployment_id)
    return first_or_raise(rows.select_related("deployment__product"), UpdateNotFound)
