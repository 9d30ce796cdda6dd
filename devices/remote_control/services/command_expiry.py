"""How commands end that no device has answered: called back, outlived, made superfluous."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from devices.remote_control.command_types import TYPES
from devices.remote_control.errors import CommandIsOut, NoSuchCommand
from devices.remote_control.events import CommandEnded
from devices.remote_control.models import (
    CommandHistory,
    RemoteControlSession,
    Status,
)
from devices.remote_control.services import queues
from events.services.outbox import record

BATCH = 500
MOST_BATCHES = 20  # at a time; the rest a few seconds later
NOT_FETCHED = "The device did not fetch it in time."
NOT_ANSWERED = "The device did not answer in time."


def finish(
    rows: Sequence[CommandHistory],
    status: Status,
    *,
    reason: str = "",
    result: Any = None,
    now: datetime,
) -> None:
    """Write how open commands end, in the transaction that holds their queues."""
    for row in rows:
        row.status, row.ended_at = status, now
        row.result, row.reason = result, reason
        row.parameters = TYPES[row.type].kept(row.parameters)
    CommandHistory.every_tenant.bulk_update(
        rows,
        [
            *("status", "sent_at", "delivered_at", "ended_at"),
            *("result", "reason", "parameters"),
        ],
    )
    record(ended(row, now) for row in rows if not TYPES[row.type].is_gesture)


def ended(row: CommandHistory, now: datetime) -> CommandEnded:
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
    """Call a command back that the device has not fetched yet.

    Raises:
        NoSuchCommand: it is none of the tenant's.
        CommandIsOut: the device has it, or it has ended.
    """
    queues.hold([command.device_id])
    row: CommandHistory | None = CommandHistory.objects.filter(pk=command.pk).first()
    if row is None:
        raise NoSuchCommand
    if row.status_at(now) != Status.QUEUED:
        raise CommandIsOut(row.status_at(now))
    finish([row], Status.CANCELLED, reason=f"Called back by {by}.", now=now)
    queues.recount([row.device_id])
    return row


def cancel_gestures_of(
    sessions: Iterable[RemoteControlSession], *, now: datetime
) -> None:
    """What a controller who has gone wanted, and no device has yet, is done by nobody."""
    ids = [session.pk for session in sessions]
    open_ones = CommandHistory.every_tenant.queued().filter(session__in=ids)
    _cancel(open_ones, [n for n, t in TYPES.items() if t.is_gesture], now)


def let_go(device_id: UUID, now: datetime) -> None:
    """A device that is retired is told nothing any more.

    Its queue is held whether there is something or not: who is about to add to it looks
    at the device afterwards.
    """
    queues.hold_even_new(device_id)
    _cancel(CommandHistory.every_tenant.open().filter(device=device_id), TYPES, now)


def _cancel(commands: Any, types: Iterable[str], now: datetime) -> None:
    wanted = commands.filter(type__in=list(types)).order_by()
    device_ids = set(wanted.values_list("device_id", flat=True))
    if not device_ids:
        return
    queues.hold(device_ids)
    finish(list(wanted), Status.CANCELLED, reason="Nobody wants it any more.", now=now)
    queues.recount(device_ids)


def expire_overdue(*, now: datetime) -> int:
    """End what was not fetched or answered in time, of every tenant; return how many.

    Runs beside devices that answer and beside itself: queues that somebody holds are
    left for the next time.
    """
    total, found, batches = 0, BATCH, 0
    while found == BATCH and batches < MOST_BATCHES:
        found = _expire_some(now)
        total += found
        batches += 1
    return total


@transaction.atomic
def _expire_some(now: datetime) -> int:
    overdue = CommandHistory.every_tenant.overdue(now)
    some = overdue.order_by("due_at").values_list("device_id", flat=True)
    held = queues.hold(set(some[:BATCH]), skip_held=True)
    rows = list(overdue.filter(device__in=held)[:BATCH])
    fetched = [row for row in rows if row.status != Status.QUEUED]
    left = [row for row in rows if row.status == Status.QUEUED]
    finish(fetched, Status.EXPIRED, reason=NOT_ANSWERED, now=now)
    finish(left, Status.EXPIRED, reason=NOT_FETCHED, now=now)
    queues.recount({row.device_id for row in rows})
    return len(rows)
