"""Judges what a device has sent: which samples are good, and what is wrong with the others.

Pure: the time is an argument. Hot: it runs for each of thousands of samples a second,
so it is plain code over the table of fields rather than a serializer for each sample.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from devices.metrics.measures import (
    FIELDS,
    GROUPS,
    LONGEST_EXTRA,
    MOST_WORDS,
    NO_NETWORK,
    SHARES,
    Field,
)

MOST_SAMPLES = 1_000
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)  # before that there was no device of ours
FARTHEST = timedelta(days=3650)  # ahead of us; no clock is so wrong by accident

Row = dict[str, Any]  # by column, ready to be stored


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one sample, and where."""

    index: int
    field: str  # dotted, as in the sample's JSON
    code: str
    sentence: str


@dataclass(slots=True)
class Judged:
    """The good samples of a request, and the faults of the others."""

    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class Wrong(Exception):
    """A value that cannot be; says where and why."""

    def __init__(self, place: str, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.place, self.code, self.sentence = place, code, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What our clock says, and how far a device's may be from it."""

    now: datetime
    oldest: datetime  # older samples are not kept any more
    limit: timedelta


def judge(samples: list[Any], *, sent_at: datetime | None, clock: Clock) -> Judged:
    """Read each sample; a bad one does not spoil the others.

    Args:
        sent_at: when the device sent them, by its own clock, if it said so.
    """
    judged = Judged()
    read: list[tuple[int, Row]] = []
    for index, sample in enumerate(samples):
        if not isinstance(sample, dict):
            judged.faults.append(Fault(index, "", "invalid", "A sample is an object."))
            continue
        row, wrongs = _read(sample, clock)
        judged.faults += [
            Fault(index, wrong.place, wrong.code, wrong.sentence) for wrong in wrongs
        ]
        if not wrongs:
            read.append((index, row))
    _set_right([row for _, row in read], sent_at=sent_at, clock=clock)
    for index, row in read:
        if _is_kept(row["recorded_at"], clock):
            judged.rows.append(row)
        else:
            sentence = "Samples of that time are not kept."
            judged.faults.append(Fault(index, "recorded_at", "not_kept", sentence))
    return judged


def moment(value: Any, place: str) -> datetime:
    """A time with its zone (RFC 3339), between no device of ours and the far future.

    Raises:
        Wrong: it is none.
    """
    if isinstance(value, str) and len(value) <= 40:
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            read = None
        if read is not None and read.tzinfo is not None:
            try:
                return read.astimezone(UTC)
            except OverflowError:
                pass
    raise Wrong(place, "invalid", "A time looks like 2026-03-01T12:00:00Z.")


def plausible(read: datetime, place: str, *, now: datetime) -> datetime:
    """
    Raises:
        Wrong: no clock that runs says this.
    """
    if not EARLIEST <= read <= now + FARTHEST:
        raise Wrong(place, "implausible_time", "That is not a time of this device.")
    return read


def _read(sample: dict[str, Any], clock: Clock) -> tuple[Row, list[Wrong]]:
    row: Row = {}
    wrongs: list[Wrong] = []
    for known in FIELDS:
        try:
            value = _value_at(sample, known)
            row[known.column] = (
                None if value is None else _CHECKS[known.kind](value, known)
            )
        except Wrong as wrong:
            wrongs.append(wrong)
    try:
        row["recorded_at"] = _recorded_at(sample, clock)
        row["extra"] = _extra(sample)
    except Wrong as wrong:
        wrongs.append(wrong)
    if not wrongs:
        wrongs += _derive(row)
    if not wrongs and all(row[name] is None for name in _SAID):
        wrongs.append(Wrong("", "empty_sample", "The sample says nothing."))
    return row, wrongs


def _value_at(sample: dict[str, Any], known: Field) -> Any:
    if len(known.place) == 1:
        return sample.get(known.place[0])
    group = sample.get(known.place[0])
    if group is None:
        return None
    if not isinstance(group, dict):
        raise Wrong(known.place[0], "invalid", "This is an object.")
    return group.get(known.place[1])


def _recorded_at(sample: dict[str, Any], clock: Clock) -> datetime:
    said = sample.get("recorded_at")
    if said is None:
        return clock.now
    return plausible(moment(said, "recorded_at"), "recorded_at", now=clock.now)


def _number(value: Any, known: Field) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(_name(known), "invalid", "This is a number.")
    if isinstance(value, float) and not math.isfinite(value):
        raise Wrong(_name(known), "not_finite", "This is a finite number.")
    if not known.least <= value <= known.most:
        bounds = f"{known.least:,g} to {known.most:,g} {known.unit}".strip()
        raise Wrong(_name(known), "out_of_bounds", f"This is from {bounds}.")
    return value


def _whole(value: Any, known: Field) -> int:
    return round(_number(value, known))


def _truth(value: Any, known: Field) -> bool:
    if not isinstance(value, bool):
        raise Wrong(_name(known), "invalid", "This is true or false.")
    return value


def _word(value: Any, known: Field) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise Wrong(_name(known), "invalid", "This is a text.")
    if len(value) > known.longest:
        sentence = f"At most {known.longest} characters."
        raise Wrong(_name(known), "max_length", sentence)
    return value


def _words(value: Any, known: Field) -> str:
    if not isinstance(value, list):
        raise Wrong(_name(known), "invalid", "This is a list of texts.")
    if len(value) > MOST_WORDS:
        raise Wrong(_name(known), "max_length", f"At most {MOST_WORDS} of them.")
    return json.dumps([_word(item, known) for item in value])


_CHECKS = {
    "number": _number,
    "whole": _whole,
    "truth": _truth,
    "word": _word,
    "words": _words,
}


def _derive(row: Row) -> Iterator[Wrong]:
    """What follows from what was said: shares in percent, and whether it is connected."""
    for share, used, total in SHARES:
        row[share] = None
        if row[used] is not None and row[total] is not None:
            if row[used] > row[total]:
                sentence = f"More is used than there is: {row[total]:,} MB."
                yield Wrong(used, "more_than_total", sentence)
            row[share] = 100 * row[used] / row[total]
    kind = row["network_type"]
    row["is_connected"] = None if kind is None else int(kind.lower() != NO_NETWORK)


_SAID = ("extra", *(known.column for known in FIELDS))
_TOP = frozenset(known.place[0] for known in FIELDS) | {"recorded_at"}
_IN_GROUP = {
    group: frozenset(
        known.place[1]
        for known in FIELDS
        if known.place[0] == group and len(known.place) > 1
    )
    for group in GROUPS
}


def _extra(sample: dict[str, Any]) -> str | None:
    """The fields that we do not know, as JSON: kept apart, not lost."""
    extra = {name: sample[name] for name in sample.keys() - _TOP}
    for group, known in _IN_GROUP.items():
        inside = sample.get(group)
        if isinstance(inside, dict) and inside.keys() - known:
            extra[group] = {name: inside[name] for name in inside.keys() - known}
    if not extra:
        return None
    try:
        text = json.dumps(extra, allow_nan=False)
    except ValueError:
        sentence = "Not every number in it is finite."
        raise Wrong(_first(extra), "not_finite", sentence) from None
    if len(text) > LONGEST_EXTRA:
        sentence = f"At most {LONGEST_EXTRA:,} characters of fields that are not known."
        raise Wrong(_first(extra), "too_much_extra", sentence)
    if "\\u0000" in text:
        raise Wrong(_first(extra), "invalid", "Text has no NUL.")
    return text


def _first(extra: dict[str, Any]) -> str:
    return min(extra)[:64]


def _name(known: Field) -> str:
    return ".".join(known.place)


def _set_right(rows: list[Row], *, sent_at: datetime | None, clock: Clock) -> None:
    """Give the samples of a wrong clock our time, and keep what the clock said.

    With `sent_at` the clock's error is known, and every sample moves by it. Without it
    the clock is wrong for certain if a sample lies ahead of us, or if all lie so far back
    that nothing is kept of them: the newest such sample is then taken for just now, and
    those beside it keep their distance to it, so that they remain apart.
    """
    if sent_at is not None:
        offset = clock.now - sent_at
        wrong = rows if abs(offset) > clock.limit else []
    else:
        good = [row for row in rows if _is_kept(row["recorded_at"], clock)]
        wrong = [
            row
            for row in rows
            if row["recorded_at"] > clock.now + clock.limit
            or (not good and row["recorded_at"] < clock.oldest)
        ]
        newest = max((row["recorded_at"] for row in wrong), default=clock.now)
        offset = clock.now - newest
    for row in rows:
        row["device_time"] = None
    for row in wrong:
        row["device_time"] = row["recorded_at"]
        row["recorded_at"] += offset


def _is_kept(recorded_at: datetime, clock: Clock) -> bool:
    return clock.oldest <= recorded_at <= clock.now + clock.limit
