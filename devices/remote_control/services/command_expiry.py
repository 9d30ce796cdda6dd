"""Cancel commands, and let commands expire that the device has not answered in time."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from core.querysets import first_or_raise
from devices.remote_control.command_types import TYPES
from devices.remote_control.errors import CommandNotCancellable, NoSuchCommand
from devices.remote_control.events import CommandEnded
from devices.remote_control.models import CommandHistory, RemoteControlSession, Status
from devices.remote_control.services import queues
from events.services.outbox import record

BATCH = 500
MAX_BATCHES = 20  # per run; the next run, a few seconds later, continues
NOT_FETCHED = "The device did not fetch the command in time."
NOT_ANSWERED = "The device did not answer in time."
NO_LONGER_NEEDED = "The session ended or the device was retired."


def finish(
    rows: Sequence[CommandHistory],
    status: Status,
    *,
    reason: str = "",
    result: Any = None,
    now: datetime,
) -> None:
    """End open commands. The current transaction has locked the queues of these commands.

    Removes redacted parameters and publishes events. No events are published for gestures.
    """
    for row in rows:
        row.status, row.ended_at = status, now
        row.result, row.reason = result, reason
        row.parameters = TYPES[row.type].redact(row.parameters)
    CommandHistory.every_tenant.bulk_update(
        rows, ["status", "sent_at", "delivered_at", "ended_at", "result", "reason", "parameters"]
    )
    record(_ended_event(row, now) for row in rows if not TYPES[row.type].is_gesture)


def _ended_event(row: CommandHistory, now: datetime) -> CommandEnded:
    return CommandEnded(
        tenant_id=row.tenant_id,
        device_id=row.device_id,
        at=now,
        command=str(row.pk),
        type=row.type,
        sequence=row.sequence,
        status=row.status,
        reason=row.reason,
    )


@transaction.atomic
def cancel(*, command: CommandHistory, by: str, now: datetime) -> CommandHistory:
    """Cancel a command that the device has not fetched yet.

    Args:
        by: email address of the member, stored as part of the reason.

    Raises:
        NoSuchCommand: the current tenant has no such command.
        CommandNotCancellable: the device has fetched the command, or the command has ended.
    """
    queues.lock([command.device_id])
    row = first_or_raise(CommandHistory.objects.filter(pk=command.pk), NoSuchCommand)
    if row.status_at(now) != Status.QUEUED:
        raise CommandNotCancellable(row.status_at(now))
    finish([row], Status.CANCELLED, reason=f"Cancelled by {by}.", now=now)
    queues.recount([row.device_id])
    return row


def cancel_gestures_of(sessions: Iterable[RemoteControlSession], *, now: datetime) -> None:
    """Cancel gestures of ended sessions that the devices have not fetched yet."""
    ids = [session.pk for session in sessions]
    queued = CommandHistory.every_tenant.queued().filter(session__in=ids)
    _cancel(queued, [name for name, type_ in TYPES.items() if type_.is_gesture], now)


def cancel_for_retired_device(device_id: UUID, now: datetime) -> None:
    """Cancel the open commands of a device that is being retired.

    The queue is locked even if it is empty. A transaction that is about to add a
    command waits for this lock and checks afterwards whether the device is retired.
    """
    queues.lock_or_create(device_id)
    _cancel(CommandHistory.every_tenant.open().filter(device=device_id), TYPES, now)


def _cancel(commands: Any, types: Iterable[str], now: datetime) -> None:
    rows = commands.filter(type__in=list(types)).order_by()
    device_ids = set(rows.values_list("device_id", flat=True))
    if not device_ids:
        return
    queues.lock(device_ids)
    finish(list(rows), Status.CANCELLED, reason=NO_LONGER_NEEDED, now=now)
    queues.recount(device_ids)


def expire_overdue(*, now: datetime) -> int:
    """Expire every tenant's commands that were not fetched or answered in time.

    Several runs may work at the same time, and devices may answer meanwhile. Therefore
    queues that another transaction has locked are left for the next run.

    Returns:
        The number of expired commands.
    """
    total, batch_size, batches = 0, BATCH, 0
    while batch_size == BATCH and batches < MAX_BATCHES:
        batch_size = _expire_batch(now)
        total += batch_size
        batches += 1
    return total


@transaction.atomic
def _expire_batch(now: datetime) -> int:
    overdue = CommandHistory.every_tenant.overdue(now)
    device_ids = overdue.order_by("due_at").values_list("device_id", flat=True)
    locked = queues.lock(set(device_ids[:BATCH]), skip_locked=True)
    rows = list(overdue.filter(device__in=locked)[:BATCH])
    fetched = [row for row in rows if row.status != Status.QUEUED]
    queued = [row for row in rows if row.status == Status.QUEUED]
    finish(fetched, Status.EXPIRED, reason=NOT_ANSWERED, now=now)
    finish(queued, Status.EXPIRED, reason=NOT_FETCHED, now=now)
    queues.recount({row.device_id for row in rows})
    return len(rows)
