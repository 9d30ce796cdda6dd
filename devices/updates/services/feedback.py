"""What a device says of its update: in any order, and as often as it likes."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from devices.registry.models import Device
from devices.updates import queries
from devices.updates.errors import (
    InvalidFeedback,
    NoUpdateForThisDevice,
    UpdateIsOver,
)
from devices.updates.models import Deployment, Status, UpdateStatus
from devices.updates.services import downloads, status_changes

DOWNLOADING, INSTALLING, INSTALLED, FAILED = (
    *("downloading", "installing", "installed", "failed"),
)
WORDS = (DOWNLOADING, INSTALLING, INSTALLED, FAILED)
LONGEST_REASON = 500  # characters

# What a device may still say of what has ended: it does not know that yet.
LATE_WORDS = {
    Status.COMPLETED: (DOWNLOADING, INSTALLING, INSTALLED),
    Status.ROLLED_BACK: (DOWNLOADING, INSTALLING, INSTALLED),
    Status.FAILED: WORDS,
}


def tell(
    *,
    device: Device,
    deployment_id: UUID,
    attempt: int,
    status: str,
    progress: int = 0,
    error_code: str = "",
    error: str = "",
    now: datetime,
) -> None:
    """Note what the current tenant's device says.

    A word of an earlier state, or one that was said before, changes nothing. That it
    has installed is its own view: it succeeds when it is seen with the new version.

    Args:
        progress: percent, of downloading or of installing.

    Raises:
        NoUpdateForThisDevice: it is not in this rollout.
        UpdateIsOver: it was ended, or this attempt was.
        InvalidFeedback: there was no such attempt.
    """
    if status == FAILED:
        downloads.leave_place(device.pk)
        _fail(device, deployment_id, attempt, error_code or "failed", error, now)
        return
    if status == INSTALLED:
        progress = 100
    elif status == INSTALLING:
        progress = min(progress, 99)
    is_news = queries.note_progress(
        device_id=device.pk,
        deployment_id=deployment_id,
        attempt=attempt,
        status=Status.DOWNLOADING if status == DOWNLOADING else Status.INSTALLING,
        progress=progress,
        now=now,
    )
    if status == DOWNLOADING:
        downloads.keep_place(device.pk)
    else:
        downloads.leave_place(device.pk)
    if not is_news:
        _check(_row(device, deployment_id), attempt, status)


@transaction.atomic
def _fail(
    device: Device,
    deployment_id: UUID,
    attempt: int,
    error_code: str,
    error: str,
    now: datetime,
) -> None:
    mine = UpdateStatus.objects.filter(device=device, deployment=deployment_id)
    open_ = mine.open().filter(attempt=attempt)
    rows = status_changes.lock(open_.select_related("deployment"), skip_locked=False)
    if not rows:
        _check(_row(device, deployment_id), attempt, FAILED)
        return
    if _is_closed(rows[0]):
        raise UpdateIsOver(Status.CANCELLED)
    rows[0].heard_at = now
    status_changes.fail(rows, lambda row: (error_code, error), now=now)


def _check(row: UpdateStatus, attempt: int, status: str) -> None:
    """Why it changes nothing: it came late, and that is all right; or it is over."""
    if attempt > row.attempt:
        raise InvalidFeedback("There was no such attempt.", field="attempt")
    if attempt < row.attempt:
        raise UpdateIsOver("failed")
    if _is_closed(row):
        raise UpdateIsOver(Status.CANCELLED)
    if row.ended_at is not None and status not in LATE_WORDS.get(row.status, ()):  # type: ignore[call-overload]
        raise UpdateIsOver(row.status)


def _is_closed(row: UpdateStatus) -> bool:
    """Whether its rollout was aborted before it began to install."""
    aborted = row.deployment.state == Deployment.State.ABORTED
    return aborted and row.status in (Status.PENDING, Status.DOWNLOADING)


def _row(device: Device, deployment_id: UUID) -> UpdateStatus:
    rows = UpdateStatus.objects.filter(device=device, deployment=deployment_id)
    row: UpdateStatus | None = rows.select_related("deployment__product").first()
    if row is None:
        raise NoUpdateForThisDevice
    return row
