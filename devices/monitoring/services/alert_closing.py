"""How alerts end: the cause is gone, it is not watched any more, or somebody says so."""

from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from devices.monitoring.models import Alert
from devices.monitoring.services.alert_events import closed
from events.services.outbox import record

BATCH = 5_000


def settle(alerts: QuerySet[Alert], *, closing: Alert.Closing, now: datetime) -> int:
    """The cause of these is gone: close those that are open; return how many were.

    Somebody else may be at the same: each alert is closed, and announced, once.
    """
    total = 0
    while True:
        with transaction.atomic():
            held = list(
                alerts.unsettled()  # type: ignore[attr-defined] # ours
                .select_for_update(skip_locked=True, of=("self",))
                .order_by("pk")[:BATCH]
            )
            total += _close(held, closing, now)
        if len(held) < BATCH:
            return total


def _close(held: list[Alert], closing: Alert.Closing, now: datetime) -> int:
    still_open = [alert for alert in held if alert.closed_at is None]
    ids = [alert.pk for alert in held]
    Alert.objects.filter(pk__in=ids).update(settled_at=now)
    Alert.objects.open().filter(pk__in=ids).update(closed_at=now, closing=closing)
    record(closed(alert, closing, now) for alert in still_open)
    return len(still_open)
