"""Settle alerts whose cause has gone or that are no longer monitored."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction

from devices.monitoring.models import Alert
from devices.monitoring.services.alert_events import closed_event
from events.services.outbox import record

BATCH = 5_000  # alerts in one transaction


def settle_alerts(alert_ids: Sequence[UUID], *, closing: Alert.Closing, now: datetime) -> int:
    """Settle the alerts, and close those that are open. Return the number of closed alerts.

    The alerts may be of several tenants. Concurrent calls are safe, because each call skips
    alerts that another call has locked.
    """
    batches = (alert_ids[start : start + BATCH] for start in range(0, len(alert_ids), BATCH))
    return sum(_settle(batch, closing, now) for batch in batches)


@transaction.atomic
def _settle(alert_ids: Sequence[UUID], closing: Alert.Closing, now: datetime) -> int:
    unsettled = Alert.every_tenant.unsettled().filter(pk__in=alert_ids).order_by("pk")
    locked_alerts = list(unsettled.select_for_update(skip_locked=True, of=("self",)))
    still_open = [alert for alert in locked_alerts if alert.closed_at is None]
    ids = [alert.pk for alert in locked_alerts]
    Alert.every_tenant.filter(pk__in=ids).update(settled_at=now)
    Alert.every_tenant.open().filter(pk__in=ids).update(closed_at=now, closing=closing)
    record(closed_event(alert, closing, now) for alert in still_open)
    return len(still_open)
