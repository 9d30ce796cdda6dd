"""How updates of devices end: each way with what has to be written along."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet

from devices.updates.events import (
    DeviceRolledBack,
    DeviceUpdateCompleted,
    DeviceUpdateFailed,
)
from devices.updates.models import Deployment, Status, UpdateStatus
from devices.updates.models.statuses import STOPPABLE
from devices.updates.services import next_steps
from events.domain_events import DomainEvent
from events.services.outbox import record

BATCH = 2_000  # rows in one transaction
SUPERSEDED = "Something newer is meant for the device."

Rows = QuerySet[UpdateStatus, Any]
Say = Callable[[UpdateStatus], tuple[str, str]]  # error code, sentence


def lock(rows: Rows, *, skip_locked: bool = True) -> list[UpdateStatus]:
    """Lock the first `BATCH` rows, after the `NextSteps` rows of their devices.

    A row that no longer belongs to `rows` once it is locked is left out.

    Args:
        skip_locked: leave out rows that another transaction has locked.
    """
    devices = dict(rows.order_by("device_id").values_list("pk", "device_id")[:BATCH])
    if not devices:
        return []
    locked = next_steps.hold(set(devices.values()), skip_held=skip_locked)
    keys = [key for key, device_id in devices.items() if device_id in locked]
    again = rows.filter(pk__in=keys).select_for_update(of=("self",))
    return list(again.order_by("device_id"))


def complete(rows: Collection[UpdateStatus], *, now: datetime) -> None:
    """Held rows: the update works."""
    _end(rows, now=now, status=Status.COMPLETED, progress=100)
    back = [row for row in rows if row.deployment.rolls_back_id is not None]
    for original in {row.deployment.rolls_back_id for row in back}:
        took_it = UpdateStatus.every_tenant.filter(
            deployment=original,
            device__in=[
                row.device_id
                for row in back
                if row.deployment.rolls_back_id == original
            ],
        )
        took_it.update(status=Status.ROLLED_BACK, ended_at=now)
    record(
        [
            DeviceRolledBack(**_about(row, now))
            if row.deployment.rolls_back_id
            else DeviceUpdateCompleted(**_about(row, now))
            for row in rows
        ]
    )


def fail(rows: Collection[UpdateStatus], say: Say, *, now: datetime) -> None:
    """Held rows: it did not work, each for a reason."""
    facts: list[DomainEvent] = []
    for row in rows:
        code, sentence = say(row)
        row.error_code, row.error = code[:64], sentence[:500]
        facts.append(
            DeviceUpdateFailed(
                **_about(row, now), error_code=row.error_code, error=row.error
            )
        )
    _end(rows, now=now, status=Status.FAILED)
    record(facts)


def cancel(
    rows: Collection[UpdateStatus], *, code: str, sentence: str, now: datetime
) -> None:
    """Held rows: nobody is to do it any more."""
    for row in rows:
        row.error_code, row.error = code, sentence[:500]
    _end(rows, now=now, status=Status.CANCELLED)


def supersede(device_ids: Collection[UUID], by: Deployment, *, now: datetime) -> None:
    """What devices have before them of the same product makes way; they are held.

    So does what is installed and has still to prove itself, but nothing that is being
    installed at this moment.
    """
    makes_way = Q(status__in=STOPPABLE) | Q(
        status=Status.INSTALLING, installed_at__isnull=False
    )
    older = UpdateStatus.objects.filter(
        makes_way, device__in=device_ids, deployment__product=by.product_id
    )
    older = older.exclude(deployment=by)
    # Who is back already, and nobody has noted it yet.
    back = older.filter(
        **{f"device__{by.product.reports}": F("version")},
        deployment__rolls_back__isnull=False,
    )
    if rows := list(back.select_related("deployment")):
        complete(rows, now=now)
        # What makes it make way is written after this, and waits for them again.
        next_steps.announce({row.device_id for row in rows})
    keys = list(older.values_list("pk", flat=True))
    if keys:
        UpdateStatus.objects.filter(makes_way, pk__in=keys).update(
            status=Status.CANCELLED,
            error_code="superseded",
            error=SUPERSEDED,
            ended_at=now,
        )


def let_go(device_id: UUID, now: datetime) -> None:
    """A device that is retired is updated no more, within that transaction."""
    next_steps.hold([device_id])
    rows = UpdateStatus.every_tenant.open().filter(device=device_id)
    rows.update(
        status=Status.CANCELLED,
        error_code="retired",
        error="The device was retired.",
        ended_at=now,
    )
    next_steps.settle([device_id])


def _end(rows: Collection[UpdateStatus], *, now: datetime, **columns: Any) -> None:
    if not rows:
        return
    for row in rows:
        row.ended_at = now
        for name, value in columns.items():
            setattr(row, name, value)
    names = ["ended_at", "error_code", "error", *columns]
    UpdateStatus.every_tenant.bulk_update(rows, names, batch_size=500)
    next_steps.settle({row.device_id for row in rows})


def _about(row: UpdateStatus, now: datetime) -> Mapping[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "device_id": row.device_id,
        "at": now,
        "rollout": str(row.deployment_id),
        "version": row.version,
        "from_version": row.from_version,
    }
