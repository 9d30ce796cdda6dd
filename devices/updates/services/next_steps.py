"""Maintain the flag `update_waiting`, which is in the `NextSteps` row of each device.

A transaction that starts or ends updates first locks the `NextSteps` rows, in the order
of the device ids. Transactions that change commands lock the same rows.
"""

from collections.abc import Collection
from uuid import UUID

from devices.registry import next_steps
from devices.updates.models import Status, UpdateStatus


def mark_updates_waiting(device_ids: Collection[UUID]) -> None:
    """Lock the `NextSteps` rows of the tenant's devices and set `update_waiting`."""
    next_steps.mark_updates_waiting(device_ids)


def lock(device_ids: Collection[UUID], *, skip_locked: bool = False) -> set[UUID]:
    """Lock the `NextSteps` rows of devices. Return the ids of the locked devices.

    Args:
        skip_locked: skip rows that another transaction has locked.
    """
    return set(next_steps.lock(device_ids, skip_locked=skip_locked))


def refresh_updates_waiting(device_ids: Collection[UUID]) -> None:
    """Recompute `update_waiting` of devices whose `NextSteps` rows are locked.

    An installed update in its soak time does not count as waiting.
    """
    waiting = UpdateStatus.every_tenant.filter(
        device__in=device_ids,
        status__in=(Status.PENDING, Status.DOWNLOADING, Status.INSTALLING),
        installed_at__isnull=True,
    )
    next_steps.write_updates_waiting(
        device_ids, waiting=set(waiting.values_list("device_id", flat=True))
    )
