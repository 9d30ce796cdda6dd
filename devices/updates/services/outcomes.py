"""What came of it, device by device: only what is seen to work has succeeded.

A device has succeeded when it is back online with the new version and has raised no
alert for the soak time. All of it is set-based: each step takes the rows of one kind.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from devices.monitoring.models import Alert
from devices.registry.models import Device
from devices.updates.models import (
    Deployment,
    SoftwareUpdate,
    Status,
    UpdateStatus,
)
from devices.updates.services import next_steps, package_files, status_changes
from devices.updates.versions import compared

Rows = QuerySet[UpdateStatus, Any]

NOT_BACK = ("not_back", "It did not come back with the new version in time.")
REVERTED = ("reverted", "It came back with the new version, and left it again.")


def decide(row: Deployment, now: datetime) -> bool:
    """Judge the devices of a held deployment; whether there may be more to judge."""
    arrived = _Arrived(row)
    is_full = _note_who_is_back(row, arrived, now)
    judged: list[tuple[Rows, Callable[[list[UpdateStatus]], None]]] = [
        (
            _under_way(row).filter(arrived.beyond),
            lambda rows: status_changes.cancel(
                rows, code="superseded", sentence=status_changes.SUPERSEDED, now=now
            ),
        ),
        (
            _installed(row).exclude(arrived.there | arrived.beyond),
            lambda rows: status_changes.fail(rows, _because(REVERTED), now=now),
        ),
        (
            _installed(row).filter(Exists(_alerts())),
            lambda rows: status_changes.fail(rows, _alert_of, now=now),
        ),
        (
            _proved(row, arrived, now),
            lambda rows: status_changes.complete(rows, now=now),
        ),
        (
            _overdue(row, now),
            lambda rows: status_changes.fail(rows, _because(NOT_BACK), now=now),
        ),
    ]
    for kind, end in judged:
        if rows := status_changes.held(kind):
            end(rows)
            is_full |= len(rows) == status_changes.BATCH
    is_full |= _wait_again(row, now)
    if row.retries_before is not None:
        is_full |= _try_again(row, now)
    if row.state == Deployment.State.ABORTED:
        is_full |= _stop(row, now)
    return is_full


def close_withdrawn(now: datetime) -> bool:
    """End what waits of one package that was withdrawn; whether there was any.

    When nobody has it before them any more, its file is dropped as well.
    """
    closing = SoftwareUpdate.every_tenant.filter(is_closing=True)
    package = closing.order_by("withdrawn_at").select_for_update(
        skip_locked=True, no_key=True, of=("self",)
    )
    found: SoftwareUpdate | None = package.first()
    if found is None:
        return False
    waiting = UpdateStatus.every_tenant.stoppable().filter(package=found)
    rows = status_changes.held(waiting.select_related("deployment"))
    sentence = "The package was withdrawn."
    status_changes.cancel(rows, code="withdrawn", sentence=sentence, now=now)
    if not waiting.exists():
        transaction.on_commit(
            partial(package_files.drop, found.stored_name), robust=True
        )
        found.is_closing, found.stored_name = False, ""
        found.save(update_fields=["is_closing", "stored_name"])
    return bool(rows)


class _Arrived:
    """Which devices of a deployment report its version, or have gone beyond it.

    Versions are compared as versions: `2.1` is `2.1.0`. There are few different ones
    among the devices that are under way.
    """

    def __init__(self, row: Deployment) -> None:
        reports = f"device__{row.product.reports}"
        pairs = _under_way(row).order_by().values_list("version", reports).distinct()
        self.there = self.beyond = Q(pk__in=())
        for version, reported in pairs:
            order = compared(reported, version, row.product.versioning)
            these = Q(version=version, **{reports: reported})
            if order == 0:
                self.there |= these
            elif order == 1 and row.package_id is not None:
                self.beyond |= these


def _under_way(row: Deployment) -> Rows:
    rows: Rows = UpdateStatus.objects.under_way().filter(deployment=row)
    return rows.select_related("deployment")


def _note_who_is_back(row: Deployment, arrived: _Arrived, now: datetime) -> bool:
    """Online with the new version: from now on it has to prove itself."""
    back = _under_way(row).filter(
        arrived.there,
        installed_at__isnull=True,
        device__status=Device.Status.ONLINE,
    )
    rows = status_changes.held(back)
    _write(rows, status=Status.INSTALLING, progress=100, installed_at=now)
    return len(rows) == status_changes.BATCH


def _installed(row: Deployment) -> Rows:
    return _under_way(row).filter(installed_at__isnull=False)


def _proved(row: Deployment, arrived: _Arrived, now: datetime) -> Rows:
    proved = _installed(row).filter(
        arrived.there,
        installed_at__lte=now - timedelta(minutes=row.soak_minutes),
        device__status=Device.Status.ONLINE,
    )
    return proved.exclude(Exists(_alerts()))


def _overdue(row: Deployment, now: datetime) -> Rows:
    """Not heard of for too long while it installed.

    Who was back with the version and is away again is only away: screens are switched
    off at night.
    """
    deadline = now - timedelta(minutes=row.deadline_minutes)
    return _under_way(row).filter(
        status=Status.INSTALLING, installed_at__isnull=True, heard_at__lt=deadline
    )


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


def _because(reason: tuple[str, str]) -> status_changes.Say:
    return lambda row: reason


def _wait_again(row: Deployment, now: datetime) -> bool:
    """Who fell silent over a download has not been reached: it goes on another time."""
    deadline = now - timedelta(minutes=row.deadline_minutes)
    silent = _under_way(row).filter(
        status=Status.DOWNLOADING, heard_at__lt=deadline, installed_at__isnull=True
    )
    rows = status_changes.held(silent)
    _write(rows, status=Status.PENDING, progress=0, started_at=None)
    return len(rows) == status_changes.BATCH


def _try_again(row: Deployment, now: datetime) -> bool:
    """Who has failed until then waits once more, with a new attempt.

    Who runs the version by now has it behind them, and still to prove that it works.
    Whom something else was given since, and who is retired, does not try again.
    """
    failed = UpdateStatus.objects.filter(
        deployment=row, status=Status.FAILED, ended_at__lte=row.retries_before
    ).select_related("deployment", "device")
    rows = status_changes.held(failed)
    moved_on = _who_moved_on(row, rows)
    status_changes.cancel(
        [one for one in rows if one.pk in moved_on],
        code="superseded",
        sentence=status_changes.SUPERSEDED,
        now=now,
    )
    again = [one for one in rows if one.pk not in moved_on]
    for one in again:
        one.attempt += 1
        reported = getattr(one.device, row.product.reports)
        is_there = compared(reported, one.version, row.product.versioning) == 0
        one.status = Status.INSTALLING if is_there else Status.PENDING
        one.progress, one.installed_at = (100, now) if is_there else (0, None)
        one.started_at = one.heard_at = now if is_there else None
    _write(
        again,
        error_code="",
        error="",
        ended_at=None,
        opened_at=now,
        written=("attempt", "status", "progress", *_MOMENTS),
    )
    if not failed.exists():
        row.retries_before = None
    return bool(rows)


_MOMENTS = ("installed_at", "started_at", "heard_at")


def _who_moved_on(row: Deployment, rows: Sequence[UpdateStatus]) -> set[int]:
    """Of some failed rows those whose device is not meant to have this any more."""
    others = UpdateStatus.objects.filter(
        device__in=[one.device_id for one in rows],
        deployment__product=row.product_id,
    ).exclude(deployment=row)
    others = others.exclude(status__in=(Status.CANCELLED, Status.FAILED))
    last: dict[UUID, datetime] = {}
    for device_id, opened_at in others.values_list("device_id", "opened_at"):
        last[device_id] = max(opened_at, last.get(device_id, opened_at))
    gone = set()
    for one in rows:
        reported = getattr(one.device, row.product.reports)
        order = compared(reported, one.version, row.product.versioning)
        is_newer = order == 1 and row.package_id is not None
        is_retired = one.device.status == Device.Status.RETIRED
        was_given = last.get(one.device_id, one.opened_at) > one.opened_at
        if is_newer or is_retired or was_given:
            gone.add(one.pk)
    return gone


def _stop(row: Deployment, now: datetime) -> bool:
    stoppable = UpdateStatus.objects.stoppable().filter(deployment=row)
    rows = status_changes.held(stoppable.select_related("deployment"))
    status_changes.cancel(
        rows, code="aborted", sentence="The rollout was aborted.", now=now
    )
    return bool(rows)


def _write(
    rows: Sequence[UpdateStatus], *, written: Sequence[str] = (), **columns: Any
) -> None:
    """Give held rows the same in some columns; what waits for their devices follows."""
    for one in rows:
        for name, value in columns.items():
            setattr(one, name, value)
    if rows:
        names = [*columns, *written]
        UpdateStatus.objects.bulk_update(rows, names, batch_size=500)
        next_steps.settle({one.device_id for one in rows})
