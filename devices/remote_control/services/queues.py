"""A device's commands as one queue, guarded by the device's row of `NextSteps`.

Every change of a command locks this row first. So numbers rise by one, and the count
that `connect` answers is right.
"""

from collections.abc import Collection
from uuid import UUID

from django.db.models import Count

from devices.registry import next_steps
from devices.registry.models import Device, NextSteps
from devices.remote_control.models import CommandHistory, Status


def advance(device_ids: Collection[UUID]) -> dict[UUID, int]:
    """Lock the queues of the tenant's devices; return the next number of each."""
    return next_steps.advance_command_sequences(device_ids)


def hold(device_ids: Collection[UUID], *, skip_held: bool = False) -> dict[UUID, int]:
    """Lock the queues of devices of any tenant; return the last number of each.

    Args:
        skip_held: leave out queues that another transaction has locked.
    """
    rows = next_steps.lock(device_ids, skip_locked=skip_held)
    return {device_id: row.command_sequence for device_id, row in rows.items()}


def hold_even_new(device_id: UUID) -> None:
    """Lock a device's queue, also if it has never had a command."""
    next_steps.create_missing(device_id)
    hold([device_id])


def set_sequence(device: Device, sequence: int) -> None:
    """Continue from a number, in the transaction that has locked the queue."""
    next_steps.write(device, command_sequence=sequence)


def recount(device_ids: Collection[UUID]) -> None:
    """Write how many commands wait for each device; their queues are locked."""
    waiting = CommandHistory.every_tenant.filter(
        device__in=device_ids, status__in=(Status.QUEUED, Status.SENT)
    ).order_by()
    rows = waiting.values_list("device_id").annotate(number=Count("pk"))
    next_steps.write_command_counts(dict.fromkeys(device_ids, 0) | dict(rows))


def waiting(device_ids: Collection[UUID]) -> dict[UUID, int]:
    """The last command number of those devices that have commands to fetch."""
    rows = NextSteps.every_tenant.filter(device__in=device_ids, commands_waiting__gt=0)
    return dict(rows.values_list("device_id", "command_sequence"))
