"""When a screen is on: by weekday, in a time zone. Pure.

A day is the one on which the time begins; what does not end later than it begins ends
on the next day. Where a change of daylight saving takes a local time away, or gives it
twice, it is read as RFC 5545 §3.3.5 says: by the offset before the gap, and the first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DAYS = (
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
)
DAY = 24 * 60  # minutes
WEEK = 7 * DAY

Entry = Mapping[str, Any]  # {"days": ["monday"], "on": "08:00", "off": "22:00"}


@dataclass(frozen=True, slots=True)
class Screen:
    """Whether it is on; until when, None if that does not change."""

    is_on: bool
    until: datetime | None


def overlaps(schedule: Sequence[Entry]) -> list[tuple[int, int]]:
    """Which entries are on while an earlier one is, or an entry while it still is itself.

    Returns:
        Pairs of positions, the one at fault first.
    """
    times = sorted(
        (DAYS.index(day) * DAY + _minutes(entry["on"]), _length(entry), place)
        for place, entry in enumerate(schedule)
        for day in entry["days"]
    )
    found = []
    for number, (start, length, place) in enumerate(times):
        next_start, _, other = times[(number + 1) % len(times)]
        if number + 1 == len(times):
            next_start += WEEK
        if start + length > next_start:
            found.append((max(place, other), min(place, other)))
    return list(dict.fromkeys(found))


def screen(schedule: Sequence[Entry], zone: ZoneInfo, at: datetime) -> Screen:
    """The state of the screen at a moment, and when it changes next."""
    today = at.astimezone(zone).date()
    start, end = today - timedelta(days=2), today + timedelta(days=9)
    spans = list(on_between(schedule, zone, start, end))
    for on, off in spans:
        if at < on:
            return Screen(False, on)
        if at < off:
            always = off >= spans[-1][1]  # on to the end of what was looked at
            return Screen(True, None if always else off)
    return Screen(False, None)


def on_between(
    schedule: Sequence[Entry], zone: ZoneInfo, first: date, last: date
) -> Iterator[tuple[datetime, datetime]]:
    """The spans in UTC that begin on these days; those that touch are one."""
    begun: tuple[datetime, datetime] | None = None
    for on, off in sorted(_spans(schedule, zone, first, last)):
        if begun is None:
            begun = on, off
        elif on <= begun[1]:
            begun = begun[0], max(begun[1], off)
        else:
            yield begun
            begun = on, off
    if begun is not None:
        yield begun


def _spans(
    schedule: Sequence[Entry], zone: ZoneInfo, first: date, last: date
) -> Iterator[tuple[datetime, datetime]]:
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        for entry in schedule:
            if DAYS[day.weekday()] in entry["days"]:
                on, off = _minutes(entry["on"]), _minutes(entry["off"])
                end = day if off > on else day + timedelta(days=1)
                span = _moment(day, on, zone), _moment(end, off, zone)
                if span[0] < span[1]:  # an hour that is repeated may swallow it
                    yield span


def _moment(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    clock = time(minutes // 60, minutes % 60)
    return datetime.combine(day, clock, zone).astimezone(UTC)


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _length(entry: Entry) -> int:
    return (_minutes(entry["off"]) - _minutes(entry["on"])) % DAY or DAY
