"""Whether an update waits for a device: its place in `NextSteps`.

Whatever begins or ends an update holds this row first, as commands do, in the order of
the devices' ids.
"""

from collections.abc import Collection
from uuid import UUID

from django.db import connection

from devices.remote_control.services import queues
from tenants.context import current_tenant_id


def announce(device_ids: Collection[UUID]) -> None:
    """Hold the rows of some of the tenant's devices and note that an update waits."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO devices_nextsteps (
                tenant_id, device_id, commands_waiting, update_waiting
            )
            SELECT %s, id, 0, true FROM unnest(%s::uuid[]) id ORDER BY id
            ON CONFLICT (device_id) DO UPDATE SET update_waiting = true
            """,
            [str(current_tenant_id()), list(map(str, device_ids))],
        )


def hold(device_ids: Collection[UUID], *, skip_held: bool = False) -> set[UUID]:
    """Hold the rows of devices; which of them are held now.

    Args:
        skip_held: leave out those that somebody else holds.
    """
    return set(queues.hold(device_ids, skip_held=skip_held))


def settle(device_ids: Collection[UUID]) -> None:
    """Note for held devices whether an update still waits for each.

    What is installed, and has only to prove itself, does not.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE devices_nextsteps steps SET update_waiting = EXISTS (
                SELECT FROM updates_updatestatus status
                WHERE status.device_id = steps.device_id
                    AND status.status IN ('pending', 'downloading', 'installing')
                    AND status.installed_at IS NULL
            )
            WHERE device_id = ANY(%s::uuid[])
            """,
            [list(map(str, device_ids))],
        )
