"""End updates of devices: complete, fail, cancel or supersede them."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet

from devices.updates.events import DeviceRolledBack, DeviceUpdateCompleted, DeviceUpdateFailed
from devices.updates.models import Deployment, Status, UpdateStatus
from devices.updates.models.statuses import STOPPABLE
from devices.updates.services import next_steps
from events.domain_events import DomainEvent
from events.services.outbox import record

BATCH = 2_000  # rows in one transaction
SUPERSEDED = "A newer update replaced this one."

Rows = QuerySet[UpdateStatus, Any]
ReasonFor = Callable[[UpdateStatus], tuple[str, str]]  # error code, sentence


def lock(rows: Rows, *, limit: int = BATCH, skip_locked: bool = True) -> list[UpdateStatus]:
    """Lock and return the first `limit` rows of a query.

    The `NextSteps` rows of the devices are locked first. Rows that no longer match the
    query after locking are left out.

    Args:
        skip_locked: skip devices whose `NextSteps` row is locked by another transaction.
    """
    devices = dict(rows.order_by("device_id").values_list("pk", "device_id")[: max(0, limit)])
    if not devices:
        return []
    locked = next_steps.lock(set(devices.values()), skip_locked=skip_locked)
    keys = [key for key, device_id in devices.items() if device_id in locked]
    matches = rows.filter(pk__in=keys).select_for_update(of=("self",))
    return list(matches.order_by("device_id"))


def complete(rows: Collection[UpdateStatus], *, now: datetime) -> None:
    """Complete updates whose rows are locked.

    If the update was part of a rollback, the original update becomes rolled back.
    """
    _end(rows, now=now, status=Status.COMPLETED, progress=100)
    rollbacks = [row for row in rows if row.deployment.rolls_back_id is not None]
    for original in {row.deployment.rolls_back_id for row in rollbacks}:
        rolled_back = UpdateStatus.every_tenant.filter(
            deployment=original,
            device__in=[
                row.device_id for row in rollbacks if row.deployment.rolls_back_id == original
            ],
        )
        rolled_back.update(status=Status.ROLLED_BACK, ended_at=now)
    record(
        [
            DeviceRolledBack(**_event_fields(row, now))
            if row.deployment.rolls_back_id
            else DeviceUpdateCompleted(**_event_fields(row, now))
            for row in rows
        ]
    )


def fail(rows: Collection[UpdateStatus], reason_for: ReasonFor, *, now: datetime) -> None:
    """Fail updates whose rows are locked.

    Args:
        reason_for: a function that returns the error code and the message of a row.
    """
    events: list[DomainEvent] = []
    for row in rows:
        code, sentence = reason_for(row)
        row.error_code, row.error = code[:64], sentence[:500]
        events.append(
            DeviceUpdateFailed(
                **_event_fields(row, now), error_code=row.error_code, error=row.error
            )
        )
    _end(rows, now=now, status=Status.FAILED)
    record(events)


def cancel(rows: Collection[UpdateStatus], *, code: str, sentence: str, now: datetime) -> None:
    """Cancel updates whose rows are locked."""
    for row in rows:
        row.error_code, row.error = code, sentence[:500]
    _end(rows, now=now, status=Status.CANCELLED)


def supersede(device_ids: Collection[UUID], by: Deployment, *, now: datetime) -> None:
    """Cancel open updates of locked devices that the rollout `by` replaces.

    Only updates of the same product are cancelled. Updates in their soak time are cancelled
    too. Updates that are being installed are not cancelled. A rollback is
    completed instead if the device already reports its version.
    """
    replaceable = Q(status__in=STOPPABLE) | Q(status=Status.INSTALLING, installed_at__isnull=False)
    older = UpdateStatus.objects.filter(
        replaceable, device__in=device_ids, deployment__product=by.product_id
    )
    older = older.exclude(deployment=by)
    # The device runs the rollback's version, but no step has recorded the arrival yet.
    arrived = older.filter(
        **{f"device__{by.product.reports}": F("version")}, deployment__rolls_back__isnull=False
    )
    if rows := list(arrived.select_related("deployment")):
        complete(rows, now=now)
        # The caller adds an update of `by` afterwards, so `update_waiting` must stay set.
        next_steps.mark_updates_waiting({row.device_id for row in rows})
    keys = list(older.values_list("pk", flat=True))
    if keys:
        UpdateStatus.objects.filter(replaceable, pk__in=keys).update(
            status=Status.CANCELLED, error_code="superseded", error=SUPERSEDED, ended_at=now
        )


def cancel_for_retired_device(device_id: UUID, now: datetime) -> None:
    """Cancel the open updates of a device, in the transaction that retires it."""
    next_steps.lock([device_id])
    rows = UpdateStatus.every_tenant.open().filter(device=device_id)
    rows.update(
        status=Status.CANCELLED, error_code="retired", error="The device was retired.", ended_at=now
    )
    next_steps.refresh_updates_waiting([device_id])


def _end(rows: Collection[UpdateStatus], *, now: datetime, **columns: Any) -> None:
    if not rows:
        return
    for row in rows:
        row.ended_at = now
        for name, value in columns.items():
            setattr(row, name, value)
    names = ["ended_at", "error_code", "error", *columns]
    UpdateStatus.every_tenant.bulk_update(rows, names, batch_size=500)
    next_steps.refresh_updates_waiting({row.device_id for row in rows})


def _event_fields(row: UpdateStatus, now: datetime) -> Mapping[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "device_id": row.device_id,
        "at": now,
        "rollout": str(row.deployment_id),
        "version": row.version,
        "from_version": row.from_version,
    }
