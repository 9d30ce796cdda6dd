"""The portal's overview page: fleet status, alerts, expiring certificates, events."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db.models import Case, Count, IntegerField, Q, Value, When
from django.db.models.functions import TruncMonth
from django.http import HttpRequest
from django.urls import reverse

from certificates.models import DeviceCertificate, Drift, Inspection
from certificates.services.inspection import last_full_pass
from core import clock
from core.charts import Chart, Point, chart
from devices.metrics.measures import MEASURE
from devices.metrics.services.aggregates import fleet_by_hour
from devices.metrics.services.history import Period
from devices.monitoring.models import Alert
from devices.registry.models import Device
from events.models import Event
from events.severity import Severity
from provisioning.portal.first_steps import first_steps
from tenants.admin.base import signed_in_user
from tenants.context import current_tenant_id
from tenants.models import User
from tenants.roles import visible_to

CHARTS_MAX_AGE = timedelta(minutes=3)
FLEET_MEASURES = ("cpu_usage", "ram_usage", "temperature")
MONTHS = 13
MAX_ROWS = 8  # of each table
_SEVERITY_RANKS = list(enumerate(Severity.values))


def callback(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the template's context. The number of queries does not depend on the data."""
    user, now = signed_in_user(request), clock.now()
    devices = visible_to(user, Device)
    certificates = DeviceCertificate.objects.active()
    if not user.sees_every_tenant:
        certificates = certificates.of_current_tenant()
    ending = certificates.expiring(now, timedelta(days=settings.RENEWAL_WARNING_DAYS))
    device_list = reverse("admin:devices_device_changelist")
    fleet = _fleet(devices)
    return context | {
        "fleet": fleet,
        "first_steps": first_steps(user, fleet["total"]),
        "alerts": _alerts(visible_to(user, Alert)),
        "charts": _charts(now),
        "warning_days": settings.RENEWAL_WARNING_DAYS,
        "ending": ending.count(),
        "soon": ending.select_related("device").order_by("not_after")[:MAX_ROWS],
        "months": _months(certificates, now.date()),
        "audit": _audit(user),
        "events": _events(visible_to(user, Event), devices),
        "links": {
            "devices": device_list,
            "online": f"{device_list}?status=online",
            "offline": f"{device_list}?status=offline",
            "never_connected": f"{device_list}?status=never_connected",
            "alerts": reverse("admin:monitoring_alert_changelist"),
            "rules": reverse("admin:monitoring_monitoringrule_changelist"),
            "certificates": reverse("admin:certificates_devicecertificate_changelist"),
            "add_device": reverse("admin:devices_device_add"),
        },
    }


def _fleet(devices: Any) -> dict[str, int]:
    online = Count("pk", filter=Q(status=Device.Status.ONLINE))
    never = Count("pk", filter=Q(status=Device.Status.OFFLINE, last_seen__isnull=True))
    counts = devices.not_retired().aggregate(total=Count("pk"), online=online, never=never)
    connected = counts["total"] - counts["never"]
    share = round(100 * counts["online"] / connected) if connected else 0
    offline = connected - counts["online"]
    return {
        **counts,
        "offline": offline,
        "connected": connected,
        "share": share,
        "rest": 100 - share,
    }


def _alerts(alerts: Any) -> dict[str, Any]:
    """Count and list the open alerts that are not acknowledged, most severe first."""
    unacknowledged = alerts.open().filter(acknowledged_at=None)
    counts = dict(unacknowledged.order_by().values_list("severity").annotate(count=Count("pk")))
    by_severity = Case(
        *(When(severity=name, then=Value(-rank)) for rank, name in _SEVERITY_RANKS),
        output_field=IntegerField(),
    )
    worst = unacknowledged.select_related("device").order_by(by_severity, "-opened_at")
    return {
        "count": sum(counts.values()),
        "by_severity": [
            (Severity(name).label, name, counts[name])
            for name in reversed(Severity.values)
            if name in counts
        ],
        "worst": worst[:MAX_ROWS],
    }


def _charts(now: datetime) -> list[Chart]:
    """Return the fleet's hourly charts of the last day, cached for a few minutes.

    Only one request at a time computes new charts. Meanwhile, other requests show the
    previous charts instead of waiting.
    """
    key = f"fleet-charts:{current_tenant_id()}"
    cached = cache.get(key)
    fresh = cached is not None and now - cached[0] < CHARTS_MAX_AGE
    if not fresh and cache.add(f"{key}:being-made", True, timeout=60):
        cached = now, list(_fleet_charts(now))
        if any(not item.is_empty for item in cached[1]):
            cache.set(key, cached, timeout=24 * 3600)
        else:  # cheap to compute, and the first sample must be visible at once
            cached = None
        cache.delete(f"{key}:being-made")
    return cached[1] if cached else []


def _fleet_charts(now: datetime) -> Iterator[Chart]:
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=24)
    measures = [MEASURE[name] for name in FLEET_MEASURES]
    hours = fleet_by_hour(measures, Period(start=start, end=now))
    axis: dict[str, Any] = {"start": start, "end": now, "step": timedelta(hours=1)}
    counts = [Point(hour.starts_at, hour.devices) for hour in hours]
    yield chart("Reporting devices per hour", counts, floor=0, **axis)
    for measure in measures:
        points = [
            Point(hour.starts_at, value)
            for hour in hours
            if (value := hour.averages[measure.name]) is not None
        ]
        limits: dict[str, Any] = {}
        if measure.unit == "%":
            limits = {"floor": 0.0, "ceiling": 100.0}
        title = f"{measure.label}, fleet average"
        yield chart(title, points, unit=measure.unit, **limits, **axis)


def _months(certificates: Any, today: date) -> list[dict[str, Any]]:
    """Count the certificates that expire in each month, starting with the current month.

    Returns:
        Label, count and bar height of each month. The height is in percent of the
        chart's height; the tallest bar has 75 percent, which leaves space for its label.
    """
    by_month = certificates.annotate(month=TruncMonth("not_after")).order_by()
    counts = {
        row["month"].date(): row["count"]
        for row in by_month.values("month").annotate(count=Count("pk"))
    }
    if not counts:
        return []
    first = today.replace(day=1)
    months = [_add_months(first, number) for number in range(MONTHS)]
    largest = max([counts.get(month, 0) for month in months] + [1])
    return [
        {
            "label": f"{month:%b}",
            "count": counts.get(month, 0),
            "height": round(75 * counts.get(month, 0) / largest),
        }
        for month in months
    ]


def _audit(user: User) -> dict[str, Any]:
    """Return the state of the certificate inspection and its integrity findings."""
    findings = Drift.objects.all()
    if not user.sees_every_tenant:
        findings = findings.filter(certificate__in=DeviceCertificate.objects.of_current_tenant())
    last, running = last_full_pass(), Inspection.objects.filter(ended_at=None).first()
    return {
        "ended_at": last.ended_at if last else None,
        "inspected": last.inspected if last else 0,
        "under_way": running.inspected if running else None,
        "drifts": findings.select_related("certificate__device")[:MAX_ROWS],
    }


def _add_months(month: date, number: int) -> date:
    years, index = divmod(month.month - 1 + number, 12)
    return date(month.year + years, index + 1, 1)


def _events(events: Any, devices: Any) -> list[Event]:
    latest = list(events[:MAX_ROWS])
    ids = {event.device_id for event in latest if event.device_id}
    names = dict(devices.filter(pk__in=ids).values_list("pk", "name"))
    for event in latest:
        event.device_name = names.get(event.device_id, "")
    return latest
