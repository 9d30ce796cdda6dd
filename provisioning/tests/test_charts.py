"""Line charts: coordinates, axes and labels for the SVG template."""

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


def test_a_chart_without_points_is_empty_and_still_has_a_time_axis() -> None:
    result = chart("CPU", [], **DAY)  # type: ignore[arg-type] # three keywords

    assert result.is_empty
    assert [tick.text for tick in result.columns][:2] == ["00:00", "04:00"]


def test_the_line_breaks_where_points_are_missing() -> None:
    result = chart("CPU", points(1, 2) + points(3, 4, first=10), **DAY)  # type: ignore[arg-type]

    assert result.line.count("M") == 2


def test_the_value_axis_covers_the_given_limits_or_the_values() -> None:
    limited = chart("CPU", points(50, 60), floor=0, ceiling=100, **DAY)  # type: ignore[arg-type]
    unlimited = chart("Temperature", points(41, 59), **DAY)  # type: ignore[arg-type]

    assert [tick.text for tick in limited.rows] == ["0", "25", "50", "75", "100"]
    assert (unlimited.rows[0].text, unlimited.rows[-1].text) == ("40", "60")


def test_a_single_value_can_be_drawn() -> None:
    result = chart("CPU", points(7), **DAY)  # type: ignore[arg-type]

    assert result.newest == "7"
    assert len(result.marks) == 1


def test_a_point_with_minimum_and_maximum_has_a_band_and_shows_them() -> None:
    hour = Point(START, 5, least=1, most=9)

    result = chart("Latency", [hour], unit="ms", **DAY)  # type: ignore[arg-type]

    assert result.band.endswith("Z")
    assert result.marks[0].text == "2026-03-01 00:00 UTC: 5 ms (1 to 9)"
