"""Data of line charts, for Chart.js and for the table behind each chart."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils.timezone import get_current_timezone_name

from core.times import local_text


@dataclass(frozen=True, slots=True)
class Point:
    """A value and its time. `least` and `most` are set if the point aggregates several values."""

    at: datetime
    value: float
    least: float | None = None
    most: float | None = None


@dataclass(slots=True)
class Chart:
    """The contents of the template `portal/chart.html`.

    `data` is passed to `portal/charts.js`. Each of `rows` is a row of the table: the time,
    followed by one value for each of `columns`. `zone` is the time zone of the user.
    """

    title: str
    unit: str
    zone: str = ""
    newest: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.rows


def chart(
    title: str,
    points: Sequence[Point],
    *,
    start: datetime,
    end: datetime,
    step: timedelta,
    unit: str = "",
    floor: float | None = None,
    ceiling: float | None = None,
    against: Sequence[Point] = (),
) -> Chart:
    """Return the chart of the values from `start` to `end`.

    Args:
        step: the usual time between points. The line is interrupted where two points are
            more than 2.5 times `step` apart.
        floor, ceiling: values that the axis always contains.
        against: points of a second line on the same axis.
    """
    result = Chart(title=title, unit=unit, zone=get_current_timezone_name())
    if not points:
        return result
    has_range = any(point.most is not None for point in points)
    result.newest = f"{_short(points[-1].value)} {unit}".strip()
    result.data = {
        "start": _milliseconds(start),
        "end": _milliseconds(end),
        "gap": 2500 * step.total_seconds(),
        "unit": unit,
        "zone": result.zone,
        "floor": floor,
        "ceiling": ceiling,
        "points": [[_milliseconds(p.at), p.value, p.least, p.most] for p in points],
        "against": [[_milliseconds(p.at), p.value] for p in against],
    }
    result.columns = ["Value", *(["Lowest", "Highest"] if has_range else [])]
    result.rows = [_row(point, has_range) for point in points]
    return result


def _row(point: Point, has_range: bool) -> tuple[str, ...]:
    time = local_text(point.at)
    values = [point.value, *([point.least, point.most] if has_range else [])]
    return (time, *("" if value is None else _short(value) for value in values))


def _milliseconds(at: datetime) -> int:
    return round(1000 * at.timestamp())


def _short(value: float) -> str:
    """Format a number below 1,000 with at most one decimal, a larger one with separators."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}".rstrip("0").rstrip(".")
