"""Compute line charts that a template renders as SVG. Pure functions, no JavaScript."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

WIDTH, HEIGHT = 560.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 6.0, 8.0, 20.0  # margins for the axis labels
TICKS = 4  # approximate number of intervals on the value axis


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a time.

    `least` and `most` are set if the point aggregates several samples.
    """

    at: datetime
    value: float
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled position on an axis."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """An invisible strip that shows the value under the pointer as a tooltip."""

    x: float
    width: float
    text: str


@dataclass(slots=True)
class Chart:
    """Everything the chart template needs, in SVG coordinates."""

    title: str
    unit: str
    newest: str = ""  # the last value with its unit
    line: str = ""  # `d` attribute of the line's path
    band: str = ""  # `d` attribute of the area between minimum and maximum
    against: str = ""  # `d` attribute of the comparison line's path
    rows: list[Tick] = field(default_factory=list)  # ticks of the value axis
    columns: list[Tick] = field(default_factory=list)  # ticks of the time axis
    marks: list[Mark] = field(default_factory=list)
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM
    height: float = HEIGHT
    view_box: str = f"0 0 {WIDTH:g} {HEIGHT:g}"

    @property
    def is_empty(self) -> bool:
        return not self.line


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
    """Build the line chart of a period.

    Args:
        points: values in time order.
        start, end: the limits of the time axis.
        step: interval between two points. The line breaks at gaps longer than 2.5 steps.
        unit: unit of the values, for labels.
        floor, ceiling: values that the value axis must include.
        against: points to draw as a second line for comparison.
    """
    result = Chart(title=title, unit=unit)
    result.columns = list(_time_ticks(start, end))
    if not points:
        return result
    low = min(point.value if point.least is None else point.least for point in points)
    high = max(point.value if point.most is None else point.most for point in points)
    high = max(high, *(point.value for point in against)) if against else high
    low = low if floor is None else min(low, floor)
    high = high if ceiling is None else max(high, ceiling)
    ticks = _round_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def y(value: float) -> float:
        share = (value - low) / (high - low)
        return round(result.bottom - share * (result.bottom - result.top), 1)

    result.rows = [Tick(y(value), _format_value(value)) for value in ticks]
    segments = list(_segments(points, 2.5 * step))
    result.line = "".join(
        _path([(_x(p.at, start, end), y(p.value)) for p in segment])
        for segment in segments
    )
    result.against = "".join(
        _path([(_x(p.at, start, end), y(p.value)) for p in segment])
        for segment in _segments(against, 2.5 * step)
    )
    result.band = "".join(
        _band(segment, start, end, y)
        for segment in segments
        if segment[0].most is not None
    )
    result.marks = list(_marks(points, start, end, step, unit))
    result.newest = f"{_format_value(points[-1].value)} {unit}".strip()
    return result


def _x(at: datetime, start: datetime, end: datetime) -> float:
    share = (at - start) / (end - start)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _segments(points: Sequence[Point], max_gap: timedelta) -> Iterator[list[Point]]:
    """Split the points at gaps longer than `max_gap`."""
    segment: list[Point] = []
    for point in points:
        if segment and point.at - segment[-1].at > max_gap:
            yield segment
            segment = []
        segment.append(point)
    if segment:
        yield segment


def _path(coordinates: list[tuple[float, float]]) -> str:
    if len(coordinates) == 1:  # draws a dot: a line of length zero with round caps
        coordinates = coordinates * 2
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in coordinates)


def _band(segment: list[Point], start: datetime, end: datetime, y: object) -> str:
    assert callable(y)
    upper = [(_x(p.at, start, end), y(p.most)) for p in segment]
    lower = [(_x(p.at, start, end), y(p.least)) for p in reversed(segment)]
    return _path(upper) + "L" + _path(lower)[1:] + "Z"


def _marks(
    points: Sequence[Point],
    start: datetime,
    end: datetime,
    step: timedelta,
    unit: str,
) -> Iterator[Mark]:
    width = max(2.0, (WIDTH - LEFT - RIGHT) * (step / (end - start)))
    for point in points:
        time = f"{point.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        text = f"{time}: {_format_value(point.value)} {unit}"
        if point.least is not None and point.most is not None:
            text += f" ({_format_value(point.least)} to {_format_value(point.most)})"
        yield Mark(
            round(_x(point.at, start, end) - width / 2, 1), round(width, 1), text
        )


def _round_ticks(low: float, high: float) -> list[float]:
    """Return evenly spaced round numbers that cover the range from `low` to `high`."""
    if high <= low:
        low, high = low - 1, high + 1
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * size for size in (1, 2, 2.5, 5, 10) if power * size >= rough)
    first = math.floor(low / step)
    last = math.ceil(high / step)
    return [round(number * step, 10) for number in range(first, last + 1)]


STEPS = (  # possible intervals of the time axis, with the format of their labels
    *((timedelta(minutes=n), "%H:%M") for n in (1, 2, 5, 10, 15, 30, 60, 120, 240)),
    *((timedelta(days=n), "%d %b") for n in (1, 5, 30)),
)
MAX_TIME_TICKS = 8


def _time_ticks(start: datetime, end: datetime) -> Iterator[Tick]:
    """Yield ticks at the shortest interval that gives at most `MAX_TIME_TICKS`."""
    fitting = (item for item in STEPS if (end - start) / item[0] <= MAX_TIME_TICKS)
    step, label_format = next(fitting, STEPS[-1])
    origin = datetime(2020, 1, 1, tzinfo=UTC)
    at = origin + step * math.ceil((start - origin) / step)
    while at <= end:
        yield Tick(_x(at, start, end), f"{at:{label_format}}")
        at += step


def _format_value(value: float) -> str:
    """Format with one decimal; from 1000 on without decimals and with separators."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}".rstrip("0").rstrip(".")
