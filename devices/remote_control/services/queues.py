"""Command queues of devices. The lock of a queue is the device's `NextSteps` row.

Every change of a command locks this row first. Therefore sequence numbers rise by one,
and the count of waiting commands in the `connect` response is correct.
"""

from collections.abc import Collection
from uuid import UUID

from django.db.models import Count

from devices.registry import next_steps
from devices.registry.models import Device, NextSteps
from devices.remote_control.models import CommandHistory, Status


def advance(device_ids: Collection[UUID]) -> dict[UUID, int]:
    """Lock queues of the tenant's devices. Return the next sequence number of each."""
    return next_steps.advance_command_sequences(device_ids)


def lock(device_ids: Collection[UUID], *, skip_locked: bool = False) -> dict[UUID, int]:
    """Lock queues of any tenant's devices. Return the last sequence number of each.

    Args:
        skip_locked: leave out queues that another transaction has locked.
    """
    rows = next_steps.lock(device_ids, skip_locked=skip_locked)
    return {device_id: row.command_sequence for device_id, row in rows.items()}


def lock_or_create(device_id: UUID) -> None:
    """Lock a device's queue, even if it has never had a command."""
    next_steps.create_missing(device_id)
    lock([device_id])


def set_sequence(device: Device, sequence: int) -> None:
    """Set the last sequence number of a device's queue. The queue must be locked."""
    next_steps.write(device, command_sequence=sequence)


def recount(device_ids: Collection[UUID]) -> None:
    """Update the count of waiting commands of each device. The queues must be locked."""
    waiting = CommandHistory.every_tenant.filter(
        device__in=device_ids, status__in=(Status.QUEUED, Status.SENT)
    ).order_by()
    rows = waiting.values_list("device_id").annotate(number=Count("pk"))
    next_steps.write_command_counts(dict.fromkeys(device_ids, 0) | dict(rows))


def waiting(device_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return the last sequence number of each device that has commands to fetch."""
    rows = NextSteps.every_tenant.filter(device__in=device_ids, commands_waiting__gt=0)
    return dict(rows.values_list("device_id", "command_sequence"))
