"""Tests of the data of line charts."""

from datetime import UTC, datetime, timedelta

from core.charts import Point, chart

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_chart_without_points_is_empty() -> None:
    empty = chart("CPU", [], start=START, end=START + HOUR, step=HOUR)

    assert (empty.is_empty, empty.newest, empty.data) == (True, "", {})


def test_a_chart_has_its_points_in_milliseconds_for_the_script() -> None:
    drawn = chart(
        "CPU",
        [Point(START + HOUR, 12.345)],
        start=START,
        end=START + 2 * HOUR,
        step=HOUR,
        unit="%",
        floor=0,
        ceiling=100,
    )

    start = round(START.timestamp() * 1000)
    assert drawn.data["points"] == [[start + 3_600_000, 12.345, None, None]]
    assert (drawn.data["start"], drawn.data["end"]) == (start, start + 7_200_000)
    assert (drawn.data["floor"], drawn.data["ceiling"]) == (0, 100)
    assert drawn.data["gap"] == 2.5 * 3_600_000
    assert drawn.newest == "12.3 %"


def test_a_table_repeats_the_values_of_the_chart() -> None:
    drawn = chart(
        "RAM",
        [Point(START, 1234.5), Point(START + HOUR, 2.0)],
        start=START,
        end=START + 2 * HOUR,
        step=HOUR,
    )

    assert drawn.columns == ["Value"]
    assert drawn.rows == [("2026-03-01 00:00", "1,234"), ("2026-03-01 01:00", "2")]


def test_aggregated_points_have_their_lowest_and_highest_value() -> None:
    drawn = chart("RAM", [Point(START, 5, 1, 9)], start=START, end=START + HOUR, step=HOUR)

    assert drawn.columns == ["Value", "Lowest", "Highest"]
    assert drawn.rows == [("2026-03-01 00:00", "5", "1", "9")]
