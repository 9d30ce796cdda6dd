"""Figures over the current tenant's fleet."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q

from devices.monitoring.models import Alert
from devices.registry.models import Device
from events.severity import Severity

MOST_RECENT = 10
A_DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Overview:
    """How the fleet is; `active` means online."""

    total: int
    active: int
    offline: int
    open_alerts: dict[str, int]  # by severity
    alerts_last_24h: int
    alerts_last_24h_by_rule: dict[str, int]
    recent_alerts: list[Alert]


def overview(*, now: datetime) -> Overview:
    """Count the living devices by status in one pass, and the alerts of the last day."""
    counts = Device.objects.living().aggregate(
        total=Count("pk"), active=Count("pk", filter=Q(status=Device.Status.ONLINE))
    )
    opened = Alert.objects.opened_since(now - A_DAY)
    by_rule = opened.order_by().values_list("rule__name").annotate(count=Count("pk"))
    day = {
        name or str(Alert.Kind.FLEET_SILENCE.label): count for name, count in by_rule
    }
    return Overview(
        total=counts["total"],
        active=counts["active"],
        offline=counts["total"] - counts["active"],
        open_alerts=open_by_severity(),
        alerts_last_24h=sum(day.values()),
        alerts_last_24h_by_rule=day,
        recent_alerts=list(Alert.objects.all()[:MOST_RECENT]),
    )


def open_by_severity() -> dict[str, int]:
    """How many alerts are open, of each severity."""
    counted = dict(
        Alert.objects.open()
        .order_by()
        .values_list("severity")
        .annotate(count=Count("pk"))
    )
    return {severity.value: counted.get(severity.value, 0) for severity in Severity}
