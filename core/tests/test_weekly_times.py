"""Weekly times over midnight, weeks and changes of daylight saving time."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from core.weekly_times import DAYS, State, WeeklyTime, find_overlaps, state_at

BERLIN = ZoneInfo("Europe/Berlin")


def entry(on: str, off: str, *days: str) -> WeeklyTime:
    return WeeklyTime.from_clock(days or DAYS, on, off)


def berlin(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


def state(schedule: list[WeeklyTime], at: datetime) -> State:
    return state_at(tuple(schedule), str(BERLIN), at)


def test_the_start_is_inclusive_and_the_end_exclusive() -> None:
    schedule = [entry("08:00", "22:00")]
    assert state(schedule, berlin("2026-06-01T08:00")).is_on
    assert not state(schedule, berlin("2026-06-01T22:00")).is_on


def test_the_state_has_the_next_change() -> None:
    schedule = [entry("08:00", "22:00", "monday")]  # 2026-06-01 is a Monday
    assert state(schedule, berlin("2026-06-01T09:00")) == State(
        True, berlin("2026-06-01T22:00").astimezone(UTC)
    )
    assert state(schedule, berlin("2026-06-01T23:00")).until == berlin("2026-06-08T08:00")


def test_an_entry_over_midnight_belongs_to_the_day_of_its_start() -> None:
    schedule = [entry("22:00", "02:00", "friday")]
    assert state(schedule, berlin("2026-06-06T01:59")).is_on  # Saturday
    assert not state(schedule, berlin("2026-06-05T01:00")).is_on


def test_an_equal_start_and_end_is_a_whole_day() -> None:
    schedule = [entry("06:00", "06:00", "monday")]
    assert state(schedule, berlin("2026-06-02T05:59")).is_on
    assert not state(schedule, berlin("2026-06-02T06:00")).is_on


def test_adjacent_entries_are_merged() -> None:
    schedule = [entry("08:00", "12:00"), entry("12:00", "18:00")]
    assert state(schedule, berlin("2026-06-01T09:00")).until == berlin("2026-06-01T18:00")


def test_a_schedule_that_is_always_on_never_changes() -> None:
    assert state([entry("00:00", "00:00")], berlin("2026-06-01T09:00")) == State(True, None)


def test_an_empty_schedule_is_never_on() -> None:
    assert state([], berlin("2026-06-01T09:00")) == State(False, None)


def test_a_skipped_time_uses_the_offset_before_the_gap() -> None:
    schedule = [entry("02:30", "10:00")]  # on 2026-03-29 the clock goes from 2 to 3
    assert not state(schedule, berlin("2026-03-29T03:29")).is_on
    assert state(schedule, berlin("2026-03-29T03:30")).is_on


def test_a_repeated_time_is_its_first_occurrence() -> None:
    schedule = [entry("02:30", "10:00")]  # on 2026-10-25 the clock goes from 3 to 2
    assert state(schedule, berlin("2026-10-25T02:30", fold=0)).is_on
    assert state(schedule, berlin("2026-10-25T02:29", fold=1)).is_on


def test_an_entry_over_a_dst_change_ends_at_local_time() -> None:
    schedule = [entry("22:00", "06:00", "saturday")]
    current = state(schedule, berlin("2026-10-24T23:00"))
    assert current.until == berlin("2026-10-25T06:00")
    length = current.until.astimezone(UTC) - berlin("2026-10-24T22:00").astimezone(UTC)
    assert length == timedelta(hours=9)


def test_overlaps_are_found_over_midnight_and_the_end_of_the_week() -> None:
    late = entry("22:00", "06:00", "sunday")
    assert find_overlaps([late, entry("05:00", "07:00", "monday")]) == [(1, 0)]
    assert find_overlaps([late, entry("06:00", "07:00", "monday")]) == []


def test_overlaps_of_consecutive_days_are_found() -> None:
    assert find_overlaps([entry("08:00", "07:00", "monday", "tuesday")]) == []
    assert find_overlaps([entry("08:00", "09:00"), entry("08:30", "08:45")]) == [(1, 0)]


CLOCKS = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
ENTRIES = st.lists(
    st.builds(
        lambda on, off, days: entry(on, off, *days),
        CLOCKS,
        CLOCKS,
        st.lists(st.sampled_from(DAYS), min_size=1, max_size=3, unique=True),
    ),
    max_size=4,
)
MOMENTS = st.integers(0, 365 * 24 * 60).map(
    lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


@given(ENTRIES, MOMENTS)
def test_the_state_changes_at_until_and_not_before(
    schedule: list[WeeklyTime], at: datetime
) -> None:
    current = state(schedule, at)
    if current.until is None:
        assert state(schedule, at + timedelta(days=3)).is_on == current.is_on
        return
    assert current.until > at
    assert state(schedule, current.until).is_on != current.is_on
    between = at + (current.until - at) / 2
    assert state(schedule, between).is_on == current.is_on
