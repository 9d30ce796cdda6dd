"""The row by which a device's commands are one queue: its place in `NextSteps`.

Whatever changes a command holds this row first. So each command has a number of its
own, and the count that `connect` tells is right.
"""

from collections.abc import Collection
from uuid import UUID

from django.db import connection

from devices.registry import next_steps
from devices.registry.models import Device, NextSteps
from tenants.context import current_tenant_id


def advance(device_ids: Collection[UUID]) -> dict[UUID, int]:
    """Hold the queues of some of the tenant's devices and give each its next number."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO devices_nextsteps (
                tenant_id, device_id, commands_waiting, command_sequence, update_waiting
            )
            SELECT %s, id, 1, 1, false FROM unnest(%s::uuid[]) id ORDER BY id
            ON CONFLICT (device_id) DO UPDATE SET
                command_sequence = devices_nextsteps.command_sequence + 1
            RETURNING device_id, command_sequence
            """,
            [str(current_tenant_id()), list(map(str, device_ids))],
        )
        return dict(cursor.fetchall())


def hold(device_ids: Collection[UUID], *, skip_held: bool = False) -> dict[UUID, int]:
    """Hold queues in order, whoever's they are; the last number of each.

    Args:
        skip_held: leave out those that somebody else holds.
    """
    # By the id alone: by the device its row would be joined, and held as well.
    rows = NextSteps.every_tenant.filter(device__in=device_ids).order_by("device_id")
    held = rows.select_for_update(no_key=True, skip_locked=skip_held, of=("self",))
    return dict(held.values_list("device_id", "command_sequence"))


def hold_even_new(device_id: UUID) -> None:
    """Hold a device's queue; one that has never had a command gets it first."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO devices_nextsteps (
                tenant_id, device_id, commands_waiting, update_waiting
            )
            SELECT tenant_id, id, 0, false FROM devices_device WHERE id = %s
            ON CONFLICT DO NOTHING
            """,
            [str(device_id)],
        )
    hold([device_id])


def set_sequence(device: Device, sequence: int) -> None:
    """Go on from a number, in the transaction that holds the queue if there is one."""
    next_steps.announce(device, command_sequence=sequence)


def recount(device_ids: Collection[UUID]) -> None:
    """Write how many commands wait for each device; their queues are held."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE devices_nextsteps steps SET commands_waiting = (
                SELECT count(*) FROM remote_control_commandhistory command
                WHERE command.device_id = steps.device_id
                    AND status IN ('queued', 'sent')
            )
            WHERE device_id = ANY(%s::uuid[])
            """,
            [list(map(str, device_ids))],
        )


def waiting(device_ids: Collection[UUID]) -> dict[UUID, int]:
    """Of some devices those that have commands to fetch, with their last number."""
    rows = NextSteps.every_tenant.filter(device__in=device_ids, commands_waiting__gt=0)
    return dict(rows.values_list("device_id", "command_sequence"))
