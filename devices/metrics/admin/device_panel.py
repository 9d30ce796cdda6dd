"""What a device reports, on its page in the portal: the newest sample, and charts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString

from core.charts import Chart, Point, chart
from devices.metrics.measures import MEASURE, Measure
from devices.metrics.models import Reported
from devices.metrics.services import history
from devices.metrics.services.history import Period
from devices.registry.models import Device

SPANS = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
DRAWN = (
    *("cpu_usage", "ram_usage", "storage_usage"),
    *("temperature", "latency", "signal_strength"),
)
MOST_POINTS = 300
PERCENT = (0.0, 100.0)


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """A line of the newest sample."""

    label: str
    text: str


def panel(request: HttpRequest, device: Device) -> SafeString:
    """The device's metrics over a day, a week or a month, as `?span=` says."""
    span = request.GET.get("span", "day")
    span = span if span in SPANS else "day"
    now = timezone.now()
    newest = history.latest(device)
    context = {
        "newest": newest,
        "facts": [] if newest is None else list(facts(newest)),
        "charts": charts(device, span=span, now=now),
        "span": span,
        "spans": list(SPANS),
    }
    return render_to_string("portal/device_metrics.html", context)


def charts(device: Device, *, span: str, now: datetime) -> list[Chart]:
    """A chart of each measure; of longer spans each hour with its least and most."""
    period = Period(start=now - SPANS[span], end=now)
    measures = [MEASURE[name] for name in DRAWN]
    if span == "day":
        series, step, reported = _of_samples(device, period, measures)
    else:
        series, step, reported = _of_hours(device, period, measures)
    drawn = [
        _drawn(measure, points, period, step)
        for measure, points in zip(measures, series, strict=True)
    ]
    connectivity = chart(
        "Connectivity: samples an hour",
        reported,
        start=period.start,
        end=period.end,
        step=timedelta(hours=1),
        floor=0,
    )
    return [*drawn, connectivity]


def facts(sample: Reported) -> Any:
    """The newest sample in words, what was said of it."""
    for name in ("cpu_usage", "ram_usage", "storage_usage", "battery_level"):
        value = getattr(sample, name)
        if value is not None:
            yield DomainEvent(MEASURE[name].label, f"{value:.0f} %")
    if sample.temperature is not None:
        yield DomainEvent("Temperature", f"{sample.temperature:.1f} °C")
    if sample.network_type is not None:
        strength = sample.signal_strength
        more = (sample.ssid, None if strength is None else f"{strength:.0f} dBm")
        words = [sample.network_type, *(item for item in more if item)]
        yield DomainEvent("Network", ", ".join(words))
    if sample.latency is not None:
        yield DomainEvent("Latency", f"{sample.latency:.0f} ms")
    if sample.screen_is_on is not None:
        yield DomainEvent("Screen", "on" if sample.screen_is_on else "off")
    if sample.running_apps:
        yield DomainEvent("Apps", f"{len(sample.running_apps)} running")


Series = tuple[list[list[Point]], timedelta, list[Point]]


def _of_samples(device: Device, period: Period, measures: list[Measure]) -> Series:
    columns = [measure.name for measure in measures]
    found = history.samples(device, period).order_by("recorded_at")
    rows = list(found.values_list("recorded_at", *columns)[:20_000])
    every = max(1, -(-len(rows) // MOST_POINTS))
    series = [
        [Point(row[0], row[index]) for row in rows[::every] if row[index] is not None]
        for index in range(1, len(columns) + 1)
    ]
    hours: dict[datetime, int] = {}
    for row in rows:
        hour = row[0].replace(minute=0, second=0, microsecond=0)
        hours[hour] = hours.get(hour, 0) + 1
    reported = [Point(hour, count) for hour, count in sorted(hours.items())]
    interval = timedelta(seconds=settings.METRICS_INTERVAL_SECONDS)
    return series, interval * every, reported


def _of_hours(device: Device, period: Period, measures: list[Measure]) -> Series:
    rows = history.rolled_up(device, period, bucket="hour", measures=measures)
    series = [
        [
            Point(
                row["starts_at"],
                row[measure.name]["average"],
                row[measure.name]["minimum"],
                row[measure.name]["maximum"],
            )
            for row in rows
            if row[measure.name]["count"]
        ]
        for measure in measures
    ]
    reported = [Point(row["starts_at"], row["samples"]) for row in rows]
    return series, timedelta(hours=1), reported


def _drawn(
    measure: Measure, points: list[Point], period: Period, step: timedelta
) -> Chart:
    floor, ceiling = PERCENT if measure.unit == "%" else (None, None)
    return chart(
        measure.label,
        points,
        start=period.start,
        end=period.end,
        step=step,
        unit=measure.unit,
        floor=floor,
        ceiling=ceiling,
    )
