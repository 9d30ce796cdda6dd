"""How long the command history is kept."""

from datetime import datetime

from devices.remote_control.models import CommandHistory

BATCH = 5000


def drop_outlived(*, before: datetime) -> int:
    """Forget the commands of every tenant that ended before a moment; how many."""
    total, found = 0, BATCH
    while found == BATCH:
        old = CommandHistory.every_tenant.filter(
            ended_at__lt=before, issued_at__lt=before
        )
        ids = list(old.order_by("issued_at").values_list("pk", flat=True)[:BATCH])
        CommandHistory.every_tenant.filter(pk__in=ids).delete()
        found = len(ids)
        total += found
    return total
