"""Line charts as SVG: drawn on the server, without a script and without a network. Pure."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

WIDTH, HEIGHT = 560.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 6.0, 8.0, 20.0  # what the axes' words need
TICKS = 4


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a time; `least` and `most` where it stands for many."""

    at: datetime
    value: float
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A strip that says, when it is pointed at, what the value there is."""

    x: float
    width: float
    text: str


@dataclass(slots=True)
class Chart:
    """What the template draws."""

    title: str
    unit: str
    newest: str = ""
    line: str = ""  # the d of a path
    band: str = ""
    against: str = ""  # the d of another path, on the same axes
    rows: list[Tick] = field(default_factory=list)
    columns: list[Tick] = field(default_factory=list)
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
    """Draw the points of a period.

    Args:
        step: how far neighbours are apart; where more than twice that is missing, the
            line breaks.
        floor, ceiling: the axis reaches at least so far.
        against: other points of the same period, drawn as a line of their own.
    """
    drawn = Chart(title=title, unit=unit)
    drawn.columns = list(_columns(start, end))
    if not points:
        return drawn
    low = min(point.value if point.least is None else point.least for point in points)
    high = max(point.value if point.most is None else point.most for point in points)
    high = max(high, *(point.value for point in against)) if against else high
    low = low if floor is None else min(low, floor)
    high = high if ceiling is None else max(high, ceiling)
    ticks = _nice(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def y(value: float) -> float:
        share = (value - low) / (high - low)
        return round(drawn.bottom - share * (drawn.bottom - drawn.top), 1)

    drawn.rows = [Tick(y(value), _short(value)) for value in ticks]
    runs = list(_runs(points, 2.5 * step))
    drawn.line = "".join(
        _line([(_x(p.at, start, end), y(p.value)) for p in run]) for run in runs
    )
    drawn.against = "".join(
        _line([(_x(p.at, start, end), y(p.value)) for p in run])
        for run in _runs(against, 2.5 * step)
    )
    drawn.band = "".join(
        _band(run, start, end, y) for run in runs if run[0].most is not None
    )
    drawn.marks = list(_marks(points, start, end, step, unit))
    drawn.newest = f"{_short(points[-1].value)} {unit}".strip()
    return drawn


def _x(at: datetime, start: datetime, end: datetime) -> float:
    share = (at - start) / (end - start)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _runs(points: Sequence[Point], gap: timedelta) -> Iterator[list[Point]]:
    run: list[Point] = []
    for point in points:
        if run and point.at - run[-1].at > gap:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def _line(places: list[tuple[float, float]]) -> str:
    if len(places) == 1:  # a dot: a line of no length, with round ends
        places = places * 2
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places)


def _band(run: list[Point], start: datetime, end: datetime, y: object) -> str:
    assert callable(y)
    upper = [(_x(p.at, start, end), y(p.most)) for p in run]
    lower = [(_x(p.at, start, end), y(p.least)) for p in reversed(run)]
    return _line(upper) + "L" + _line(lower)[1:] + "Z"


def _marks(
    points: Sequence[Point],
    start: datetime,
    end: datetime,
    step: timedelta,
    unit: str,
) -> Iterator[Mark]:
    width = max(2.0, (WIDTH - LEFT - RIGHT) * (step / (end - start)))
    for point in points:
        said = f"{point.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {_short(point.value)} {unit}"
        if point.least is not None and point.most is not None:
            said += f" ({_short(point.least)} to {_short(point.most)})"
        yield Mark(
            round(_x(point.at, start, end) - width / 2, 1), round(width, 1), said
        )


def _nice(low: float, high: float) -> list[float]:
    """Round numbers that reach from one to the other."""
    if high <= low:
        low, high = low - 1, high + 1
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * size for size in (1, 2, 2.5, 5, 10) if power * size >= rough)
    first = math.floor(low / step)
    last = math.ceil(high / step)
    return [round(number * step, 10) for number in range(first, last + 1)]


STEPS = (  # of the axis below, with how they are written
    *((timedelta(minutes=n), "%H:%M") for n in (1, 2, 5, 10, 15, 30, 60, 120, 240)),
    *((timedelta(days=n), "%d %b") for n in (1, 5, 30)),
)
MOST_COLUMNS = 8


def _columns(start: datetime, end: datetime) -> Iterator[Tick]:
    """Minutes or hours of a day, or days."""
    fitting = (one for one in STEPS if (end - start) / one[0] <= MOST_COLUMNS)
    step, form = next(fitting, STEPS[-1])
    first = datetime(2020, 1, 1, tzinfo=UTC)
    at = first + step * math.ceil((start - first) / step)
    while at <= end:
        yield Tick(_x(at, start, end), f"{at:{form}}")
        at += step


def _short(value: float) -> str:
    """At most four digits that matter; big numbers with a separator."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}".rstrip("0").rstrip(".")
