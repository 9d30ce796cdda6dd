"""The metrics panel of a device's portal page: the newest sample and charts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.timezone import localtime, make_aware

from core import clock
from core.charts import Chart, Point, chart
from devices.metrics.measures import MEASURE, Measure
from devices.metrics.models import AbstractSample
from devices.metrics.services import history
from devices.metrics.services.history import Period
from devices.registry.extension_points import on_tab
from devices.registry.models import Device

SPANS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
SHORTEST = timedelta(minutes=10)
DRAWN_FROM_SAMPLES = timedelta(days=2)  # at most; longer periods are drawn from hours
DRAWN_FROM_HOURS = timedelta(days=92)  # at most; longer periods are drawn from days
LOCAL = "%Y-%m-%dT%H:%M"  # of a field of the type `datetime-local`
CHART_MEASURES = (
    "cpu_usage",
    "ram_usage",
    "storage_usage",
    "temperature",
    "latency",
    "signal_strength",
)
BUCKETS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
MAX_AGE = timedelta(days=3653)  # of the begin of a period
MAX_POINTS = 300  # in one chart
PERCENT = (0.0, 100.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """A labelled value of the newest sample."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The period that a page shows.

    Attributes:
        span: a key of `SPANS`; "" for a period with a chosen begin and end.
        fault: why the chosen period is not shown.
    """

    period: Period
    span: str
    fault: str = ""


@on_tab("metrics")
def panel(request: HttpRequest, device: Device) -> SafeString:
    """Render the device's metrics over the period of the address, see `shown_period`."""
    now = clock.now()
    shown = shown_period(request.GET, now=now)
    start, end = shown.period.start, shown.period.end
    newest = history.latest(device)
    length = end - start
    context = {
        "newest": newest,
        "figures": [] if newest is None else list(figures(newest)),
        "charts": charts(device, shown.period),
        "shown": shown,
        "spans": list(SPANS),
        "start": f"{localtime(start):{LOCAL}}",
        "end": f"{localtime(end):{LOCAL}}",
        "earlier": _query(start - length, start),
        "later": _query(end, min(end + length, now)) if now - end > SHORTEST else "",
        "zone": localtime(now).tzname(),
    }
    return render_to_string("portal/device_metrics.html", context)


def shown_period(parameters: Mapping[str, str], *, now: datetime) -> Shown:
    """Return the period that the parameters of an address choose.

    `span` is `day`, `week` or `month`. `from` and `until` are times in ISO 8601; without an
    offset, they are in the user's time zone.
    """
    span = parameters.get("span", "day")
    span = span if span in SPANS else "day"
    usual = Period(start=now - SPANS[span], end=now)
    if not parameters.get("from") and not parameters.get("until"):
        return Shown(usual, span)
    try:
        start, end = _moment(parameters.get("from", "")), _moment(parameters.get("until", ""))
    except (ValueError, OverflowError):
        return Shown(usual, span, "Enter a begin and an end.")
    end = min(end, now)
    if end - start < SHORTEST:
        return Shown(usual, span, "The end must be at least ten minutes after the begin.")
    if now - start > MAX_AGE:
        return Shown(usual, span, "The begin is too long ago.")
    return Shown(Period(start=start, end=end), "")


def charts(device: Device, period: Period) -> list[Chart]:
    """Return a chart of each measure, and a chart of the number of samples.

    Up to two days are drawn from samples. Longer periods are drawn from roll-ups, with the
    minimum and maximum of each hour or day.
    """
    measures = [MEASURE[name] for name in CHART_MEASURES]
    length, bucket = period.end - period.start, "hour"
    if length <= DRAWN_FROM_SAMPLES:
        series, step, counts = _series_from_samples(device, period, measures)
    else:
        bucket = "hour" if length <= DRAWN_FROM_HOURS else "day"
        series, step, counts = _series_from_roll_ups(device, period, measures, bucket)
    measure_charts = [
        _chart(measure, points, period, step)
        for measure, points in zip(measures, series, strict=True)
    ]
    connectivity = chart(
        f"Connectivity (samples per {bucket})",
        counts,
        start=period.start,
        end=period.end,
        step=BUCKETS[bucket],
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


def _series_from_roll_ups(
    device: Device, period: Period, measures: list[Measure], bucket: str
) -> Series:
    rows = history.roll_ups(device, period, bucket=bucket, measures=measures)
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
    return series, BUCKETS[bucket], counts


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return make_aware(moment) if moment.tzinfo is None else moment


def _query(start: datetime, end: datetime) -> str:
    return urlencode({"tab": "metrics", "from": start.isoformat(), "until": end.isoformat()})


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
