"""Whether an update waits for a device, as `connect` answers it.

Starting and ending an update locks the device's row of `NextSteps` first, as commands
do, in the order of the devices' ids.
"""

from collections.abc import Collection
from uuid import UUID

from devices.registry import next_steps
from devices.updates.models import Status, UpdateStatus


def announce(device_ids: Collection[UUID]) -> None:
    """Lock the rows of the tenant's devices and note that an update waits for each."""
    next_steps.mark_updates_waiting(device_ids)


def hold(device_ids: Collection[UUID], *, skip_held: bool = False) -> set[UUID]:
    """Lock the rows of devices; return which are locked now.

    Args:
        skip_held: leave out rows that another transaction has locked.
    """
    return set(next_steps.lock(device_ids, skip_locked=skip_held))


def settle(device_ids: Collection[UUID]) -> None:
    """Note for locked devices whether an update still waits for each.

    An installed update that is still in its soak time does not.
    """
    waiting = UpdateStatus.every_tenant.filter(
        device__in=device_ids,
        status__in=(Status.PENDING, Status.DOWNLOADING, Status.INSTALLING),
        installed_at__isnull=True,
    )
    next_steps.write_updates_waiting(
        device_ids, waiting=set(waiting.values_list("device_id", flat=True))
    )
