"""The portal's first page: how the fleet is, what ends soon, what happened last."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db.models import Case, Count, IntegerField, Q, Value, When
from django.db.models.functions import TruncMonth
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from certificates.models import DeviceCertificate, Drift, Inspection
from certificates.services.inspection import last_full_pass
from core.charts import Chart, Point, chart
from devices.metrics.measures import MEASURE
from devices.metrics.services.aggregates import by_the_hour
from devices.metrics.services.history import Period
from devices.monitoring.models import Alert
from devices.registry.models import Device
from events.models import Event
from events.severity import Severity
from tenants.admin.base import person
from tenants.context import current_tenant_id
from tenants.models import User
from tenants.roles import visible_to

CHARTS_GOOD_FOR = timedelta(minutes=3)
FLEET_MEASURES = ("cpu_usage", "ram_usage", "temperature")
MONTHS = 13
ROWS = 8
_WEIGHTS = list(enumerate(Severity.values))


def callback(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the template needs, in a fixed number of queries."""
    user, now = person(request), timezone.now()
    devices = visible_to(user, Device)
    certificates = DeviceCertificate.objects.active()
    if not user.is_superuser:
        certificates = certificates.owned()
    ending = certificates.expiring(now, timedelta(days=settings.RENEWAL_WARNING_DAYS))
    listed = reverse("admin:devices_device_changelist")
    return context | {
        "fleet": _fleet(devices),
        "alerts": _alerts(visible_to(user, Alert)),
        "charts": _charts(now),
        "warning_days": settings.RENEWAL_WARNING_DAYS,
        "ending": ending.count(),
        "soon": ending.select_related("device").order_by("not_after")[:ROWS],
        "months": _months(certificates, now.date()),
        "audit": _audit(user),
        "events": _events(visible_to(user, Event), devices),
        "links": {
            "devices": listed,
            "online": f"{listed}?status__exact=online",
            "offline": f"{listed}?status__exact=offline",
            "alerts": reverse("admin:monitoring_alert_changelist"),
            "rules": reverse("admin:monitoring_monitoringrule_changelist"),
            "certificates": reverse("admin:certificates_devicecertificate_changelist"),
            "add_device": reverse("admin:devices_device_add"),
        },
    }


def _fleet(devices: Any) -> dict[str, int]:
    online = Count("pk", filter=Q(status=Device.Status.ONLINE))
    counts = devices.living().aggregate(total=Count("pk"), online=online)
    total = counts["total"]
    share = round(100 * counts["online"] / total) if total else 0
    return {
        **counts,
        "offline": total - counts["online"],
        "share": share,
        "rest": 100 - share,
    }


def _alerts(alerts: Any) -> dict[str, Any]:
    """What needs someone: open, and nobody has acknowledged it; the worst first."""
    unseen = alerts.open().filter(acknowledged_at=None)
    counted = dict(
        unseen.order_by().values_list("severity").annotate(count=Count("pk"))
    )
    by_weight = Case(
        *(When(severity=name, then=Value(-weight)) for weight, name in _WEIGHTS),
        output_field=IntegerField(),
    )
    worst = unseen.select_related("device").order_by(by_weight, "-opened_at")
    return {
        "count": sum(counted.values()),
        "by_severity": [
            (Severity(name).label, name, counted[name])
            for name in reversed(Severity.values)
            if name in counted
        ],
        "worst": worst[:ROWS],
    }


def _charts(now: datetime) -> list[Chart]:
    """The fleet over the last day, by the hour; made anew every few minutes.

    By one request: the others get what there was, so that none waits for it in a row.
    """
    key = f"fleet-charts:{current_tenant_id()}"
    known: tuple[datetime, list[Chart]] | None = cache.get(key)
    fresh = known is not None and now - known[0] < CHARTS_GOOD_FOR
    if not fresh and cache.add(f"{key}:being-made", True, timeout=60):
        known = now, list(_fleet_charts(now))
        if any(not drawn.is_empty for drawn in known[1]):
            cache.set(key, known, timeout=24 * 3600)
        else:  # it costs nothing, and the first sample should be seen at once
            known = None
        cache.delete(f"{key}:being-made")
    return known[1] if known else []


def _fleet_charts(now: datetime) -> Iterator[Chart]:
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=24)
    measures = [MEASURE[name] for name in FLEET_MEASURES]
    hours = by_the_hour(measures, Period(start=start, end=now))
    frame: dict[str, Any] = {"start": start, "end": now, "step": timedelta(hours=1)}
    counts = [Point(hour.starts_at, hour.devices) for hour in hours]
    yield chart("Devices that reported, by the hour", counts, floor=0, **frame)
    for measure in measures:
        points = [
            Point(hour.starts_at, value)
            for hour in hours
            if (value := hour.averages[measure.name]) is not None
        ]
        share: dict[str, Any] = {}
        if measure.unit == "%":
            share = {"floor": 0.0, "ceiling": 100.0}
        title = f"{measure.label}, average of the fleet"
        yield chart(title, points, unit=measure.unit, **share, **frame)


def _months(certificates: Any, today: date) -> list[dict[str, Any]]:
    """A bar for each month from this one on; the longest is full height."""
    by_month = certificates.annotate(month=TruncMonth("not_after")).order_by()
    counts = {
        row["month"].date(): row["count"]
        for row in by_month.values("month").annotate(count=Count("pk"))
    }
    if not counts:
        return []
    first = today.replace(day=1)
    months = [_later(first, number) for number in range(MONTHS)]
    longest = max([counts.get(month, 0) for month in months] + [1])
    return [
        {
            "label": f"{month:%b}",
            "count": counts.get(month, 0),
            "height": round(75 * counts.get(month, 0) / longest),
        }
        for month in months
    ]


def _audit(user: User) -> dict[str, Any]:
    """When all certificates were last looked at, and which are not as they were issued."""
    drifted = Drift.objects.all()
    if not user.is_superuser:
        drifted = drifted.filter(certificate__in=DeviceCertificate.objects.owned())
    last, running = last_full_pass(), Inspection.objects.filter(ended_at=None).first()
    return {
        "ended_at": last.ended_at if last else None,
        "inspected": last.inspected if last else 0,
        "under_way": running.inspected if running else None,
        "drifts": drifted.select_related("certificate__device")[:ROWS],
    }


def _later(month: date, number: int) -> date:
    years, index = divmod(month.month - 1 + number, 12)
    return date(month.year + years, index + 1, 1)


def _events(events: Any, devices: Any) -> list[Event]:
    latest = list(events[:ROWS])
    ids = {event.device_id for event in latest if event.device_id}
    names = dict(devices.filter(pk__in=ids).values_list("pk", "name"))
    for event in latest:
        event.device_name = names.get(event.device_id, "")
    return latest
