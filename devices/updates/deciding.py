"""What came of it, device by device: only what is seen to work has succeeded.

A device has succeeded when it is back online with the new version and has raised no
alert for the soak time. All of it is set-based: each step takes the rows of one kind.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from devices.models import Device
from devices.monitoring.models import Alert
from devices.updates import endings, steps
from devices.updates.models import (
    Deployment,
    SoftwareUpdate,
    Status,
    UpdateStatus,
)

Rows = QuerySet[UpdateStatus, Any]

NOT_BACK = ("not_back", "It did not come back with the new version in time.")
REVERTED = ("reverted", "It came back with the new version, and left it again.")


def decide(row: Deployment, now: datetime) -> bool:
    """Judge the devices of a held deployment; whether there may be more to judge."""
    is_full = _note_who_is_back(row, now)
    judged: list[tuple[Rows, Callable[[list[UpdateStatus]], None]]] = [
        (_reverted(row), lambda rows: endings.fail(rows, _because(REVERTED), now=now)),
        (_alarmed(row), lambda rows: endings.fail(rows, _alert_of, now=now)),
        (_proved(row, now), lambda rows: endings.complete(rows, now=now)),
        (
            _overdue(row, now),
            lambda rows: endings.fail(rows, _because(NOT_BACK), now=now),
        ),
    ]
    for kind, end in judged:
        if rows := endings.held(kind):
            end(rows)
            is_full |= len(rows) == endings.BATCH
    is_full |= _wait_again(row, now)
    if row.retries_before is not None:
        is_full |= _try_again(row, now)
    if row.state == Deployment.State.ABORTED:
        is_full |= _stop(row, now)
    return is_full


def close_withdrawn(now: datetime) -> bool:
    """End what waits of one package that was withdrawn; whether there was any."""
    closing = SoftwareUpdate.every_tenant.filter(is_closing=True)
    package = closing.order_by("withdrawn_at").select_for_update(
        skip_locked=True, of=("self",)
    )
    found = package.first()
    if found is None:
        return False
    rows = endings.held(UpdateStatus.every_tenant.stoppable().filter(package=found))
    sentence = "The package was withdrawn."
    endings.cancel(rows, code="withdrawn", sentence=sentence, now=now)
    left = UpdateStatus.every_tenant.stoppable().filter(package=found)
    if not left.exists():
        found.is_closing = False
        found.save(update_fields=["is_closing"])
    return bool(rows)


def _under_way(row: Deployment) -> Rows:
    rows: Rows = UpdateStatus.objects.under_way().filter(deployment=row)
    return rows.select_related("deployment")


def _reporting(row: Deployment) -> str:
    return f"device__{row.product.reports}"


def _note_who_is_back(row: Deployment, now: datetime) -> bool:
    """Online with the new version: from now on it has to prove itself."""
    back = _under_way(row).filter(
        **{_reporting(row): F("version")},
        installed_at__isnull=True,
        device__status=Device.Status.ONLINE,
    )
    rows = endings.held(back)
    for one in rows:
        one.status, one.progress, one.installed_at = Status.INSTALLING, 100, now
    UpdateStatus.objects.bulk_update(
        rows, ["status", "progress", "installed_at"], batch_size=500
    )
    return len(rows) == endings.BATCH


def _installed(row: Deployment) -> Rows:
    return _under_way(row).filter(installed_at__isnull=False)


def _reverted(row: Deployment) -> Rows:
    same = Q(**{_reporting(row): F("version")})
    return _installed(row).exclude(same)


def _alarmed(row: Deployment) -> Rows:
    return _installed(row).filter(Exists(_alerts()))


def _proved(row: Deployment, now: datetime) -> Rows:
    return (
        _installed(row)
        .filter(
            **{_reporting(row): F("version")},
            installed_at__lte=now - timedelta(minutes=row.soak_minutes),
            device__status=Device.Status.ONLINE,
        )
        .exclude(Exists(_alerts()))
    )


def _overdue(row: Deployment, now: datetime) -> Rows:
    """Not heard of for too long: while it installed, or since it was to prove itself."""
    deadline = now - timedelta(minutes=row.deadline_minutes)
    away = ~Q(device__status=Device.Status.ONLINE)
    since = deadline - timedelta(minutes=row.soak_minutes)
    late = Q(installed_at__isnull=True, status=Status.INSTALLING) | (
        Q(installed_at__lt=since) & away
    )
    return _under_way(row).filter(late, heard_at__lt=deadline)


def _alerts() -> QuerySet[Alert, Any]:
    """Those that a device has raised since it is back."""
    alerts: QuerySet[Alert, Any] = Alert.every_tenant.filter(
        device=OuterRef("device"), opened_at__gte=OuterRef("installed_at")
    )
    return alerts


def _alert_of(row: UpdateStatus) -> tuple[str, str]:
    raised = Alert.every_tenant.filter(
        device=row.device_id, opened_at__gte=row.installed_at
    )
    title = raised.order_by("opened_at").values_list("title", flat=True).first()
    return "alert", f"It raised an alert: {title}"


def _because(reason: tuple[str, str]) -> endings.Say:
    return lambda row: reason


def _wait_again(row: Deployment, now: datetime) -> bool:
    """Who fell silent over a download has not been reached: it goes on another time."""
    deadline = now - timedelta(minutes=row.deadline_minutes)
    silent = _under_way(row).filter(
        status=Status.DOWNLOADING, heard_at__lt=deadline, installed_at__isnull=True
    )
    rows = endings.held(silent)
    for one in rows:
        one.status, one.progress, one.started_at = Status.PENDING, 0, None
    UpdateStatus.objects.bulk_update(
        rows, ["status", "progress", "started_at"], batch_size=500
    )
    return len(rows) == endings.BATCH


def _try_again(row: Deployment, now: datetime) -> bool:
    """Who has failed until then waits once more, with a new attempt."""
    failed = UpdateStatus.objects.filter(
        deployment=row, status=Status.FAILED, ended_at__lte=row.retries_before
    ).select_related("deployment")
    rows = endings.held(failed)
    for one in rows:
        one.status, one.progress, one.attempt = Status.PENDING, 0, one.attempt + 1
        one.error_code = one.error = ""
        one.started_at = one.heard_at = one.installed_at = one.ended_at = None
        one.opened_at = now
    UpdateStatus.objects.bulk_update(
        rows,
        [
            *("status", "progress", "attempt", "error_code", "error", "opened_at"),
            *("started_at", "heard_at", "installed_at", "ended_at"),
        ],
        batch_size=500,
    )
    if rows:
        steps.settle({one.device_id for one in rows})
    if not failed.exists():
        row.retries_before = None
    return bool(rows)


def _stop(row: Deployment, now: datetime) -> bool:
    rows = endings.held(
        UpdateStatus.objects.stoppable()
        .filter(deployment=row)
        .select_related("deployment")
    )
    endings.cancel(rows, code="aborted", sentence="The rollout was aborted.", now=now)
    return bool(rows)
