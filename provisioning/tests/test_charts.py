"""Lines over time, as numbers that an SVG can be made of."""

from datetime import UTC, datetime, timedelta

from core.charts import Point, chart

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = {"start": START, "end": START + 24 * HOUR, "step": HOUR}


def points(*values: float, first: int = 0) -> list[Point]:
    return [
        Point(START + (first + number) * HOUR, value)
        for number, value in enumerate(values)
    ]


def test_without_points_it_is_empty_and_still_has_its_times() -> None:
    drawn = chart("CPU", [], **DAY)  # type: ignore[arg-type] # three keywords

    assert drawn.is_empty
    assert [tick.text for tick in drawn.columns][:2] == ["00:00", "04:00"]


def test_the_line_breaks_where_points_are_missing() -> None:
    drawn = chart("CPU", points(1, 2) + points(3, 4, first=10), **DAY)  # type: ignore[arg-type]

    assert drawn.line.count("M") == 2


def test_the_axis_reaches_as_far_as_it_is_told_and_as_the_values_want() -> None:
    share = chart("CPU", points(50, 60), floor=0, ceiling=100, **DAY)  # type: ignore[arg-type]
    free = chart("Temperature", points(41, 59), **DAY)  # type: ignore[arg-type]

    assert [tick.text for tick in share.rows] == ["0", "25", "50", "75", "100"]
    assert (free.rows[0].text, free.rows[-1].text) == ("40", "60")


def test_one_value_alone_can_be_drawn() -> None:
    drawn = chart("CPU", points(7), **DAY)  # type: ignore[arg-type]

    assert drawn.newest == "7"
    assert len(drawn.marks) == 1


def test_what_stands_for_many_has_a_band_and_says_its_bounds() -> None:
    hour = Point(START, 5, least=1, most=9)

    drawn = chart("Latency", [hour], unit="ms", **DAY)  # type: ignore[arg-type]

    assert drawn.band.endswith("Z")
    assert drawn.marks[0].text == "2026-03-01 00:00 UTC: 5 ms (1 to 9)"
