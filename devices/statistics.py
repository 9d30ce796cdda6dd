"""Figures over the current tenant's fleet."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q

from devices.models import Device
from events.models import Event

ALERT_OPENED = "alert.opened"
MOST_RECENT = 10


@dataclass(frozen=True, slots=True)
class Overview:
    """How the fleet is; `active` means online."""

    total: int
    active: int
    offline: int
    alerts_last_24h: int
    recent_alerts: list[Event]


def overview(*, now: datetime) -> Overview:
    """Count the living devices by status in one pass, and find the last day's alerts."""
    counts = Device.objects.living().aggregate(
        total=Count("pk"), active=Count("pk", filter=Q(status=Device.Status.ONLINE))
    )
    alerts = Event.objects.named(ALERT_OPENED).since(now - timedelta(hours=24))
    return Overview(
        total=counts["total"],
        active=counts["active"],
        offline=counts["total"] - counts["active"],
        alerts_last_24h=alerts.count(),
        recent_alerts=list(alerts[:MOST_RECENT]),
    )
