"""Validate the samples that a device sends, and correct the times of a wrong clock.

The functions are pure, and the current time is an argument. They run for thousands of
samples per second, so they loop over the table of fields instead of using serializers.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from devices.metrics.measures import FIELDS
from devices.metrics.sample_values import Row, parse_time, read_values

MAX_SAMPLES = 1_000
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)  # no device existed before
MAX_AHEAD = timedelta(seconds=5)  # of a correct clock; then no sample stays the newest
_REPORTED_COLUMNS = ("extra", *(spec.column for spec in FIELDS))


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in one sample."""

    index: int
    field: str  # dotted path in the sample's JSON
    code: str
    message: str


@dataclass(slots=True)
class ValidationResult:
    """The usable samples of a request, and what was not usable."""

    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)  # of samples that are not stored
    ignored: list[Fault] = field(default_factory=list)  # of values in the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The server's time and the limits for the times of samples."""

    now: datetime
    oldest: datetime  # older samples are past the retention
    limit: timedelta  # maximum error of a device's clock


@dataclass(slots=True)
class _Parsed:
    index: int
    row: Row
    faults: list[Fault]
    has_time: bool


def validate_samples(
    samples: list[Any], *, sent_at: datetime | None, clock: Clock
) -> ValidationResult:
    """Read each sample as far as possible. A sample without any usable value is not stored.

    Args:
        samples: decoded JSON values.
        sent_at: when the device sent the samples, by its own clock; None if unknown.
        clock: the server's time and limits.
    """
    result = ValidationResult()
    parsed: list[_Parsed] = []
    for index, sample in enumerate(samples):
        if not isinstance(sample, dict):
            message = "A sample must be a JSON object."
            result.faults.append(Fault(index, "", "invalid", message))
            continue
        item = _parse(index, sample, clock)
        if all(item.row[name] is None for name in _REPORTED_COLUMNS):
            result.faults += item.faults
            if not item.faults:
                message = "The sample has no values."
                result.faults.append(Fault(index, "", "empty_sample", message))
            continue
        parsed.append(item)
    _correct_times(parsed, sent_at=sent_at, clock=clock)
    for item in parsed:
        if _is_in_retention(item.row["recorded_at"], clock):
            result.rows.append(item.row)
            result.ignored += item.faults
        else:
            message = f"The time must be between {clock.oldest:%Y-%m-%d %H:%M} UTC and now."
            result.faults.append(Fault(item.index, "recorded_at", "not_kept", message))
    return result


def _parse(index: int, sample: dict[str, Any], clock: Clock) -> _Parsed:
    row, unusable = read_values(sample)
    faults = [Fault(index, item.path, item.code, item.message) for item in unusable]
    time, value = None, sample.get("recorded_at")
    if value is not None and (time := parse_time(value)) is None:
        message = "Enter a time with a time zone, such as 2026-03-01T12:00:00Z."
        faults.append(Fault(index, "recorded_at", "invalid", message))
    row["recorded_at"], row["device_time"] = time or clock.now, None
    return _Parsed(index, row, faults, time is not None)


def _correct_times(parsed: list[_Parsed], *, sent_at: datetime | None, clock: Clock) -> None:
    """Correct the times of samples from a wrong clock, and set `device_time`.

    If `sent_at` is given, the error of the clock is known. If this error exceeds the limit, or
    a sample is in the future, the times of the samples are shifted by the error. A sample with a
    later time than `sent_at` was taken with another clock, before the device lost its time, so
    it keeps its time if it is not in the future. Without
    `sent_at`, the clock is certainly wrong in two cases: a sample is in the future, or all samples
    are older than the retention. Then the newest of these samples is shifted to now, and the
    others of these samples by the same amount. Therefore the intervals between the samples do not
    change. A sample without a usable time gets the server's.
    """
    timed = [item.row for item in parsed if item.has_time]
    if sent_at is not None:
        offset = clock.now - sent_at
        is_wrong = abs(offset) > clock.limit or any(_is_ahead(row, clock) for row in timed)
        latest = sent_at + MAX_AHEAD
        by_this_clock = [
            row for row in timed if row["recorded_at"] <= latest or _is_ahead(row, clock)
        ]
        wrong = by_this_clock if is_wrong else []
    else:
        any_in_retention = any(_is_in_retention(row["recorded_at"], clock) for row in timed)
        wrong = [
            row
            for row in timed
            if _is_ahead(row, clock) or (not any_in_retention and row["recorded_at"] < clock.oldest)
        ]
        newest = max((row["recorded_at"] for row in wrong), default=clock.now)
        offset = clock.now - newest
    for row in wrong:
        row["device_time"] = row["recorded_at"]
        row["recorded_at"] = _shifted(row["recorded_at"], offset, clock)
    _set_server_times(parsed, clock)


def _set_server_times(parsed: list[_Parsed], clock: Clock) -> None:
    """Give the server's time to samples without a usable one, in their order."""
    without_time = [
        item for item in parsed if not item.has_time or item.row["recorded_at"] < EARLIEST
    ]
    for position, item in enumerate(reversed(without_time)):
        row = item.row
        time = clock.now - timedelta(microseconds=position)
        if item.has_time:
            row["device_time"] = row["device_time"] or row["recorded_at"]
        else:
            row["device_time"] = time  # the flag of a time that is not the device's
        row["recorded_at"] = time


def _shifted(time: datetime, offset: timedelta, clock: Clock) -> datetime:
    try:
        return min(time + offset, clock.now)
    except OverflowError:
        return clock.now


def _is_ahead(row: Row, clock: Clock) -> bool:
    return bool(row["recorded_at"] > clock.now + MAX_AHEAD)


def _is_in_retention(recorded_at: datetime, clock: Clock) -> bool:
    return clock.oldest <= recorded_at <= clock.now + clock.limit
