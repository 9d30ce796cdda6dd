"""Deletion of old commands, sessions and bulk commands."""

from datetime import datetime
from typing import Any

from devices.remote_control.models import BulkCommand, CommandHistory, RemoteControlSession

BATCH = 5000


def delete_old(*, before: datetime) -> int:
    """Delete commands, sessions and bulk commands of every tenant that ended before a time.

    Return the number of deleted rows.
    """
    return sum(
        _delete(model, before) for model in (CommandHistory, RemoteControlSession, BulkCommand)
    )


def _delete(model: Any, before: datetime) -> int:
    total, batch_size = 0, BATCH
    while batch_size == BATCH:
        rows = model.every_tenant.filter(ended_at__lt=before).order_by("ended_at")
        ids = list(rows.values_list("pk", flat=True)[:BATCH])
        model.every_tenant.filter(pk__in=ids).delete()
        batch_size = len(ids)
        total += batch_size
    return total
