"""Settle alerts whose cause has gone or that are no longer monitored."""

from datetime import datetime

from django.db import transaction

from devices.monitoring.models import Alert, AlertQuerySet
from devices.monitoring.services.alert_events import closed_event
from events.services.outbox import record

BATCH = 5_000  # alerts in one transaction


def settle_alerts(alerts: AlertQuerySet, *, closing: Alert.Closing, now: datetime) -> int:
    """Settle the alerts, and close those that are open. Return the number of closed alerts.

    Concurrent calls are safe, because each call skips alerts that another call has locked.
    """
    total = 0
    while True:
        with transaction.atomic():
            locked_alerts = list(
                alerts.unsettled()
                .select_for_update(skip_locked=True, of=("self",))
                .order_by("pk")[:BATCH]
            )
            total += _settle(locked_alerts, closing, now)
        if len(locked_alerts) < BATCH:
            return total


def _settle(locked_alerts: list[Alert], closing: Alert.Closing, now: datetime) -> int:
    still_open = [alert for alert in locked_alerts if alert.closed_at is None]
    ids = [alert.pk for alert in locked_alerts]
    Alert.objects.filter(pk__in=ids).update(settled_at=now)
    Alert.objects.open().filter(pk__in=ids).update(closed_at=now, closing=closing)
    record(closed_event(alert, closing, now) for alert in still_open)
    return len(still_open)
