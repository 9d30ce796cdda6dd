"""Pure functions that calculate when a screen is on, from a weekly schedule and a time zone.

An entry of the schedule belongs to the day on which the entry begins. If its end is not later
than its start, the entry ends on the next day. A change of daylight saving time skips or
repeats local times. As RFC 5545 §3.3.5 requires, a skipped time uses the offset before the gap,
and a repeated time is its first occurrence.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MINUTES_PER_DAY = 24 * 60
MINUTES_PER_WEEK = 7 * MINUTES_PER_DAY

Entry = Mapping[str, Any]  # {"days": ["monday"], "on": "08:00", "off": "22:00"}


@dataclass(frozen=True, slots=True)
class ScreenState:
    """The state of the screen. `until` is the time of the next change, None if there is none."""

    is_on: bool
    until: datetime | None


def find_overlaps(schedule: Sequence[Entry]) -> list[tuple[int, int]]:
    """Find the entries of a schedule that overlap other entries.

    Returns:
        Pairs of positions in the schedule: the later entry, then the earlier entry.
    """
    spans = sorted(
        (DAYS.index(day) * MINUTES_PER_DAY + _minutes(entry["on"]), _length(entry), i)
        for i, entry in enumerate(schedule)
        for day in entry["days"]
    )
    overlaps = []
    for number, (start, length, index) in enumerate(spans):
        next_start, _, next_index = spans[(number + 1) % len(spans)]
        if number + 1 == len(spans):
            next_start += MINUTES_PER_WEEK
        if start + length > next_start:
            overlaps.append((max(index, next_index), min(index, next_index)))
    return list(dict.fromkeys(overlaps))


def screen_state(schedule: Sequence[Entry], zone: ZoneInfo, at: datetime) -> ScreenState:
    """Return the state of the screen at the given time, and the time of the next change."""
    today = at.astimezone(zone).date()
    start, end = today - timedelta(days=2), today + timedelta(days=9)
    spans = list(on_between(schedule, zone, start, end))
    for on, off in spans:
        if at < on:
            return ScreenState(False, on)
        if at < off:
            always = off >= spans[-1][1]  # on until the end of the examined days
            return ScreenState(True, None if always else off)
    return ScreenState(False, None)


def on_between(
    schedule: Sequence[Entry], zone: ZoneInfo, first: date, last: date
) -> Iterator[tuple[datetime, datetime]]:
    """Yield the time spans, in UTC, in which the screen is on.

    The spans begin on the days from `first` to `last`. Adjacent spans are merged.
    """
    current: tuple[datetime, datetime] | None = None
    for on, off in sorted(_spans(schedule, zone, first, last)):
        if current is None:
            current = on, off
        elif on <= current[1]:
            current = current[0], max(current[1], off)
        else:
            yield current
            current = on, off
    if current is not None:
        yield current


def _spans(
    schedule: Sequence[Entry], zone: ZoneInfo, first: date, last: date
) -> Iterator[tuple[datetime, datetime]]:
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        for entry in schedule:
            if DAYS[day.weekday()] in entry["days"]:
                on, off = _minutes(entry["on"]), _minutes(entry["off"])
                end = day if off > on else day + timedelta(days=1)
                span = _utc_time(day, on, zone), _utc_time(end, off, zone)
                if span[0] < span[1]:  # a span within a repeated hour can be empty
                    yield span


def _utc_time(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    local_time = time(minutes // 60, minutes % 60)
    return datetime.combine(day, local_time, zone).astimezone(UTC)


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _length(entry: Entry) -> int:
    minutes = _minutes(entry["off"]) - _minutes(entry["on"])
    return minutes % MINUTES_PER_DAY or MINUTES_PER_DAY
