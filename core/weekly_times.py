"""Times that recur every week in a time zone, such as opening hours. Pure functions.

A time belongs to the day on which it starts. If its end is not later than its start, it ends on
the next day. A change of daylight saving time skips or repeats local times. As RFC 5545
§3.3.5 requires, a skipped time uses the offset before the gap, and a repeated time is its
first occurrence.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Self
from zoneinfo import ZoneInfo

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MAX_TIMES = 50
SECONDS_PER_DAY = 24 * 60 * 60
SECONDS_PER_WEEK = 7 * SECONDS_PER_DAY
CLOCK = "^([01][0-9]|2[0-3]):[0-5][0-9]$"

Entry = Mapping[str, Any]  # {"days": ["monday"], "from": "08:00", "until": "22:00"}


def schema(most: int) -> dict[str, Any]:
    """Return the JSON Schema of a list of at most `most` entries."""
    days = {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"enum": list(DAYS)}}
    clock = {"type": "string", "pattern": CLOCK}
    entry = {
        "type": "object",
        "additionalProperties": False,
        "required": ["days", "from", "until"],
        "properties": {"days": days, "from": clock, "until": clock},
    }
    return {"type": "array", "maxItems": most, "items": entry}


@dataclass(frozen=True, slots=True)
class WeeklyTime:
    """A time on some days of the week. The days are numbered from 0, which is Monday.

    `start` and `end` are in seconds after midnight. If they are equal, the time lasts a day.
    """

    days: frozenset[int]
    start: int
    end: int

    @classmethod
    def from_clock(cls, days: Collection[str], start: str, end: str) -> Self:
        """Return the time of names of days and clock times such as `08:00`."""
        return cls(frozenset(map(DAYS.index, days)), _seconds(start), _seconds(end))

    @classmethod
    def from_iso_weekdays(
        cls, weekdays: Collection[int], start: time | None, end: time | None
    ) -> Self:
        """Return the time of ISO weekdays (1 is Monday). Without a start or end, it is midnight."""
        days = frozenset(day - 1 for day in weekdays)
        return cls(days, _seconds_of(start or time.min), _seconds_of(end or time.min))

    @property
    def length(self) -> int:
        return (self.end - self.start) % SECONDS_PER_DAY or SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class State:
    """Whether a moment is within weekly times.

    `until` is when the answer changes; None if it never does.
    """

    is_on: bool
    until: datetime | None


def from_entries(
    entries: Sequence[Entry], *, start: str = "from", end: str = "until"
) -> tuple[WeeklyTime, ...]:
    """Return the times of entries of a JSON document.

    Args:
        start, end: the keys of an entry that have its clock times.
    """
    return tuple(
        WeeklyTime.from_clock(entry["days"], entry[start], entry[end]) for entry in entries
    )


def state_at(times: tuple[WeeklyTime, ...], zone: str, at: datetime) -> State:
    """Return whether a moment is within the times, and when the answer changes.

    Args:
        zone: name of a time zone in the IANA database.
        at: aware datetime.
    """
    spans = _spans_around(times, zone, at.astimezone(ZoneInfo(zone)).date())
    for start, end in spans:
        if at < start:
            return State(False, start)
        if at < end:
            always = end >= spans[-1][1]  # until the end of the examined days
            return State(True, None if always else end)
    return State(False, None)


@dataclass(frozen=True, slots=True)
class WeeklyHours:
    """Weekly times in a time zone."""

    times: tuple[WeeklyTime, ...]
    zone: str

    def include(self, at: datetime) -> bool:
        """Return True if it is one of the times."""
        return state_at(self.times, self.zone, at).is_on


def find_overlaps(times: Sequence[WeeklyTime]) -> list[tuple[int, int]]:
    """Find the times that overlap others.

    Returns:
        Pairs of positions: the later time, then the earlier time.
    """
    spans = sorted(
        (day * SECONDS_PER_DAY + item.start, item.length, index)
        for index, item in enumerate(times)
        for day in item.days
    )
    overlaps = []
    for number, (start, length, index) in enumerate(spans):
        next_start, _, next_index = spans[(number + 1) % len(spans)]
        if number + 1 == len(spans):
            next_start += SECONDS_PER_WEEK
        if start + length > next_start:
            overlaps.append((max(index, next_index), min(index, next_index)))
    return list(dict.fromkeys(overlaps))


@lru_cache(maxsize=50_000)
def _spans_around(
    times: tuple[WeeklyTime, ...], zone: str, day: date
) -> list[tuple[datetime, datetime]]:
    """Return the merged spans, in UTC, that begin up to two days before and nine days after."""
    merged: list[tuple[datetime, datetime]] = []
    first, last = day - timedelta(days=2), day + timedelta(days=9)
    for start, end in sorted(_spans(times, ZoneInfo(zone), first, last)):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _spans(
    times: Sequence[WeeklyTime], zone: ZoneInfo, first: date, last: date
) -> Iterator[tuple[datetime, datetime]]:
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        for item in times:
            if day.weekday() in item.days:
                end_day = day if item.end > item.start else day + timedelta(days=1)
                span = _utc_time(day, item.start, zone), _utc_time(end_day, item.end, zone)
                if span[0] < span[1]:  # a span within a repeated hour can be empty
                    yield span


def _utc_time(day: date, seconds: int, zone: ZoneInfo) -> datetime:
    minutes, second = divmod(seconds, 60)
    local_time = time(minutes // 60, minutes % 60, second)
    return datetime.combine(day, local_time, zone).astimezone(UTC)


def _seconds(clock: str) -> int:
    hours, minutes = clock.split(":")
    return (int(hours) * 60 + int(minutes)) * 60


def _seconds_of(moment: time) -> int:
    return (moment.hour * 60 + moment.minute) * 60 + moment.second
