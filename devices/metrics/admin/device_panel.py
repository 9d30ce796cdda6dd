"""The metrics panel of a device's portal page: the newest sample and charts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from core import clock
from core.charts import Chart, Point, chart
from devices.metrics.measures import MEASURE, Measure
from devices.metrics.models import AbstractSample
from devices.metrics.services import history
from devices.metrics.services.history import Period
from devices.registry.extension_points import on_tab
from devices.registry.models import Device

SPANS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
CHART_MEASURES = (
    "cpu_usage",
    "ram_usage",
    "storage_usage",
    "temperature",
    "latency",
    "signal_strength",
)
MAX_POINTS = 300  # in one chart
PERCENT = (0.0, 100.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """A labelled value of the newest sample."""

    label: str
    text: str


@on_tab("metrics")
def panel(request: HttpRequest, device: Device) -> SafeString:
    """Render the device's metrics over the period in `?span=`: day, week or month."""
    span = request.GET.get("span", "day")
    span = span if span in SPANS else "day"
    now = clock.now()
    newest = history.latest(device)
    context = {
        "newest": newest,
        "figures": [] if newest is None else list(figures(newest)),
        "charts": charts(device, span=span, now=now),
        "span": span,
        "spans": list(SPANS),
    }
    return render_to_string("portal/device_metrics.html", context)


def charts(device: Device, *, span: str, now: datetime) -> list[Chart]:
    """Return a chart of each measure, and a chart of the number of samples per hour.

    A day is drawn from samples. Longer spans are drawn from hourly roll-ups, with the
    minimum and maximum of each hour.
    """
    period = Period(start=now - SPANS[span], end=now)
    measures = [MEASURE[name] for name in CHART_MEASURES]
    if span == "day":
        series, step, counts = _series_from_samples(device, period, measures)
    else:
        series, step, counts = _series_from_hours(device, period, measures)
    measure_charts = [
        _chart(measure, points, period, step)
        for measure, points in zip(measures, series, strict=True)
    ]
    connectivity = chart(
        "Connectivity (samples per hour)",
        counts,
        start=period.start,
        end=period.end,
        step=timedelta(hours=1),
        floor=0,
    )
    return [*measure_charts, connectivity]


def figures(sample: AbstractSample) -> Iterator[Figure]:
    """Yield the reported values of a sample as text."""
    for name in ("cpu_usage", "ram_usage", "storage_usage", "battery_level"):
        value = getattr(sample, name)
        if value is not None:
            yield Figure(MEASURE[name].label, f"{value:.0f} %")
    if sample.temperature is not None:
        yield Figure("Temperature", f"{sample.temperature:.1f} °C")
    if sample.network_type is not None:
        strength = sample.signal_strength
        details = (sample.ssid, None if strength is None else f"{strength:.0f} dBm")
        parts = [sample.network_type, *(item for item in details if item)]
        yield Figure("Network", ", ".join(parts))
    if sample.latency is not None:
        yield Figure("Latency", f"{sample.latency:.0f} ms")
    if sample.screen_is_on is not None:
        yield Figure("Screen", "on" if sample.screen_is_on else "off")
    if sample.running_apps:
        yield Figure("Apps", f"{len(sample.running_apps)} running")


# The points of each measure, the time between points, and the samples per hour.
Series = tuple[list[list[Point]], timedelta, list[Point]]


def _series_from_samples(device: Device, period: Period, measures: list[Measure]) -> Series:
    columns = [measure.name for measure in measures]
    queryset = history.samples(device, period).order_by("recorded_at")
    rows = list(queryset.values_list("recorded_at", *columns)[:20_000])
    stride = max(1, -(-len(rows) // MAX_POINTS))
    series = [
        [Point(row[0], row[index]) for row in rows[::stride] if row[index] is not None]
        for index in range(1, len(columns) + 1)
    ]
    hours: dict[datetime, int] = {}
    for row in rows:
        hour = row[0].replace(minute=0, second=0, microsecond=0)
        hours[hour] = hours.get(hour, 0) + 1
    counts = [Point(hour, count) for hour, count in sorted(hours.items())]
    interval = timedelta(seconds=settings.METRICS_INTERVAL_SECONDS)
    return series, interval * stride, counts


def _series_from_hours(device: Device, period: Period, measures: list[Measure]) -> Series:
    rows = history.roll_ups(device, period, bucket="hour", measures=measures)
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
    counts = [Point(row["starts_at"], row["samples"]) for row in rows]
    return series, timedelta(hours=1), counts


def _chart(measure: Measure, points: list[Point], period: Period, step: timedelta) -> Chart:
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
