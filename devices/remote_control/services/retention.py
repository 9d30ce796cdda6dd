"""How long it is kept what devices were told, and who controlled them."""

from datetime import datetime
from typing import Any

from devices.remote_control.models import (
    BulkCommand,
    CommandHistory,
    RemoteControlSession,
)

BATCH = 5000


def drop_outlived(*, before: datetime) -> int:
    """Forget what ended before a moment, of every tenant; return how many rows."""
    return sum(
        _drop(model, before)
        for model in (CommandHistory, RemoteControlSession, BulkCommand)
    )


def _drop(model: Any, before: datetime) -> int:
    total, found = 0, BATCH
    while found == BATCH:
        old = model.every_tenant.filter(ended_at__lt=before).order_by("ended_at")
        ids = list(old.values_list("pk", flat=True)[:BATCH])
        model.every_tenant.filter(pk__in=ids).delete()
        found = len(ids)
        total += found
    return total
