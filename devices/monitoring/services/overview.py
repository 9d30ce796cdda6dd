"""Count devices and alerts of the current tenant for the overview."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q

from devices.monitoring.models import Alert
from devices.registry.models import Device
from events.severity import Severity

MAX_RECENT_ALERTS = 10
DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Overview:
    """The numbers of devices and alerts. `active` is the number of online devices."""

    total: int
    active: int
    offline: int
    open_alerts: dict[str, int]  # by severity
    alerts_last_24h: int
    alerts_last_24h_by_rule: dict[str, int]
    recent_alerts: list[Alert]


def overview(*, now: datetime) -> Overview:
    """Count the unretired devices by status, and the alerts of the last 24 hours."""
    counts = Device.objects.not_retired().aggregate(
        total=Count("pk"), active=Count("pk", filter=Q(status=Device.Status.ONLINE))
    )
    opened = Alert.objects.raised_since(now - DAY)
    rows = opened.order_by().values_list("rule__name").annotate(count=Count("pk"))
    by_rule = {name or str(Alert.Kind.FLEET_SILENCE.label): count for name, count in rows}
    return Overview(
        total=counts["total"],
        active=counts["active"],
        offline=counts["total"] - counts["active"],
        open_alerts=open_by_severity(),
        alerts_last_24h=sum(by_rule.values()),
        alerts_last_24h_by_rule=by_rule,
        recent_alerts=list(Alert.objects.all()[:MAX_RECENT_ALERTS]),
    )


def open_by_severity() -> dict[str, int]:
    """Return the number of open alerts of each severity."""
    counts = dict(
        Alert.objects.open().order_by().values_list("severity").annotate(count=Count("pk"))
    )
    return {severity.value: counts.get(severity.value, 0) for severity in Severity}
