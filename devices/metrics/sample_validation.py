"""Validate the samples that a device sends.

The functions are pure, and the current time is an argument. They run for thousands of
samples per second, so they loop over the table of fields instead of using serializers.
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
    MAX_EXTRA_KEYS,
    MAX_EXTRA_LENGTH,
    MAX_STRINGS,
    NO_NETWORK,
    PERCENTAGES,
    Field,
)

MAX_SAMPLES = 1_000
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)  # no device existed before
MAX_AHEAD = timedelta(days=3650)  # no clock is further ahead by accident

Row = dict[str, Any]  # values by column, ready to be stored


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in one sample."""

    index: int
    field: str  # dotted path in the sample's JSON
    code: str
    message: str


@dataclass(slots=True)
class ValidationResult:
    """The valid samples of a request, and the faults of the invalid samples."""

    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class InvalidValue(Exception):
    """A value of a sample is invalid; `path` is its dotted path in the JSON."""

    def __init__(self, path: str, code: str, message: str) -> None:
        super().__init__(message)
        self.path, self.code, self.message = path, code, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The server's time and the limits for the times of samples."""

    now: datetime
    oldest: datetime  # older samples are past the retention
    limit: timedelta  # maximum error of a device's clock


def validate_samples(
    samples: list[Any], *, sent_at: datetime | None, clock: Clock
) -> ValidationResult:
    """Validate each sample. An invalid sample does not affect the others.

    Args:
        samples: decoded JSON values.
        sent_at: when the device sent the samples, by its own clock; None if unknown.
        clock: the server's time and limits.
    """
    result = ValidationResult()
    parsed: list[tuple[int, Row]] = []
    for index, sample in enumerate(samples):
        if not isinstance(sample, dict):
            message = "A sample must be a JSON object."
            result.faults.append(Fault(index, "", "invalid", message))
            continue
        row, errors = _parse(sample, clock)
        result.faults += [Fault(index, error.path, error.code, error.message) for error in errors]
        if not errors:
            parsed.append((index, row))
    _correct_times([row for _, row in parsed], sent_at=sent_at, clock=clock)
    for index, row in parsed:
        if _is_in_retention(row["recorded_at"], clock):
            result.rows.append(row)
        else:
            message = f"The time must be between {clock.oldest:%Y-%m-%d %H:%M} UTC and now."
            result.faults.append(Fault(index, "recorded_at", "not_kept", message))
    return result


def parse_time(value: Any, path: str) -> datetime:
    """Parse a time with a time zone (RFC 3339). Return it in UTC.

    Raises:
        InvalidValue: the value is not a time with a time zone.
    """
    if isinstance(value, str) and len(value) <= 40:
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            time = None
        if time is not None and time.tzinfo is not None:
            try:
                return time.astimezone(UTC)
            except OverflowError:
                pass
    message = "Enter a time with a time zone, such as 2026-03-01T12:00:00Z."
    raise InvalidValue(path, "invalid", message)


def check_time(time: datetime, path: str, *, now: datetime) -> datetime:
    """Return the time if it is plausible. The limits allow for a wrong device clock.

    Raises:
        InvalidValue: the time is before `EARLIEST` or too far in the future.
    """
    if not EARLIEST <= time <= now + MAX_AHEAD:
        latest = now + MAX_AHEAD
        message = f"The time must be between {EARLIEST:%Y-%m-%d} and {latest:%Y-%m-%d}."
        raise InvalidValue(path, "implausible_time", message)
    return time


def _parse(sample: dict[str, Any], clock: Clock) -> tuple[Row, list[InvalidValue]]:
    row: Row = {}
    errors: list[InvalidValue] = []
    for spec in FIELDS:
        try:
            value = _value_at(sample, spec)
            row[spec.column] = None if value is None else _PARSERS[spec.kind](value, spec)
        except InvalidValue as error:
            errors.append(error)
    try:
        row["recorded_at"] = _recorded_at(sample, clock)
        row["extra"] = _extra(sample)
    except InvalidValue as error:
        errors.append(error)
    if not errors:
        errors += _derive(row)
    if not errors and all(row[name] is None for name in _REPORTED_COLUMNS):
        errors.append(InvalidValue("", "empty_sample", "The sample has no values."))
    return row, errors


def _value_at(sample: dict[str, Any], spec: Field) -> Any:
    if len(spec.path) == 1:
        return sample.get(spec.path[0])
    group = sample.get(spec.path[0])
    if group is None:
        return None
    if not isinstance(group, dict):
        raise InvalidValue(spec.path[0], "invalid", "This must be a JSON object.")
    return group.get(spec.path[1])


def _recorded_at(sample: dict[str, Any], clock: Clock) -> datetime:
    value = sample.get("recorded_at")
    if value is None:
        return clock.now
    return check_time(parse_time(value, "recorded_at"), "recorded_at", now=clock.now)


def _number(value: Any, spec: Field) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValue(_dotted(spec), "invalid", "This must be a number.")
    if isinstance(value, float) and not math.isfinite(value):
        message = "This must be a finite number."
        raise InvalidValue(_dotted(spec), "not_finite", message)
    if not spec.minimum <= value <= spec.maximum:
        bounds = f"{spec.minimum:,g} and {spec.maximum:,g} {spec.unit}".strip()
        message = f"This must be between {bounds}."
        raise InvalidValue(_dotted(spec), "out_of_bounds", message)
    return value


def _integer(value: Any, spec: Field) -> int:
    return round(_number(value, spec))


def _boolean(value: Any, spec: Field) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(_dotted(spec), "invalid", "This must be true or false.")
    return value


def _string(value: Any, spec: Field) -> str:
    if not isinstance(value, str) or "\x00" in value:
        message = "This must be a string without NUL characters."
        raise InvalidValue(_dotted(spec), "invalid", message)
    if len(value) > spec.max_length:
        message = f"This may have at most {spec.max_length} characters."
        raise InvalidValue(_dotted(spec), "max_length", message)
    return value


def _strings(value: Any, spec: Field) -> str:
    if not isinstance(value, list):
        raise InvalidValue(_dotted(spec), "invalid", "This must be a list of strings.")
    if len(value) > MAX_STRINGS:
        message = f"This may have at most {MAX_STRINGS} entries."
        raise InvalidValue(_dotted(spec), "max_length", message)
    return json.dumps([_string(item, spec) for item in value])


_PARSERS = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "string": _string,
    "strings": _strings,
}


def _derive(row: Row) -> Iterator[InvalidValue]:
    """Compute the percentages and `is_connected`. Yield the errors in the source columns."""
    for percentage, used, total in PERCENTAGES:
        row[percentage] = None
        if row[used] is not None and row[total] is not None:
            if row[used] > row[total]:
                message = f"This must not exceed the total of {row[total]:,} MB."
                yield InvalidValue(used, "more_than_total", message)
            row[percentage] = 100 * row[used] / row[total]
    network_type = row["network_type"]
    row["is_connected"] = None if network_type is None else int(network_type.lower() != NO_NETWORK)


_REPORTED_COLUMNS = ("extra", *(spec.column for spec in FIELDS))
_TOP_LEVEL_NAMES = frozenset(spec.path[0] for spec in FIELDS) | {"recorded_at"}
_NAMES_IN_GROUP = {
    group: frozenset(
        spec.path[1] for spec in FIELDS if spec.path[0] == group and len(spec.path) > 1
    )
    for group in GROUPS
}


def _extra(sample: dict[str, Any]) -> str | None:
    """Return the unknown fields of a sample as JSON, so that they are not lost."""
    extra = {name: sample[name] for name in sample.keys() - _TOP_LEVEL_NAMES}
    for group, names in _NAMES_IN_GROUP.items():
        values = sample.get(group)
        if isinstance(values, dict) and values.keys() - names:
            extra[group] = {name: values[name] for name in values.keys() - names}
    if not extra:
        return None
    if _count_keys(extra) > MAX_EXTRA_KEYS:
        message = f"Unknown fields may have at most {MAX_EXTRA_KEYS} names."
        raise InvalidValue(_first(extra), "too_much_extra", message)
    try:
        text = json.dumps(extra, allow_nan=False)
    except ValueError:
        message = "All numbers must be finite."
        raise InvalidValue(_first(extra), "not_finite", message) from None
    if len(text) > MAX_EXTRA_LENGTH:
        message = f"Unknown fields may have at most {MAX_EXTRA_LENGTH:,} characters of JSON."
        raise InvalidValue(_first(extra), "too_much_extra", message)
    if "\\u0000" in text:
        message = "Strings must not contain NUL characters."
        raise InvalidValue(_first(extra), "invalid", message)
    return text


def _count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_keys, value.values()))
    return sum(map(_count_keys, value)) if isinstance(value, list) else 0


def _first(extra: dict[str, Any]) -> str:
    return min(extra)[:64]


def _dotted(spec: Field) -> str:
    return ".".join(spec.path)


def _correct_times(rows: list[Row], *, sent_at: datetime | None, clock: Clock) -> None:
    """Correct the times of samples from a wrong clock, and set `device_time`.

    If `sent_at` is given, the error of the clock is known. If this error exceeds the limit,
    the times of all samples are shifted by the error. Without `sent_at`, the clock is certainly
    wrong in two cases: a sample is in the future, or all samples are older than the
    retention. Then the newest of these samples is shifted to now, and the others of these
    samples by the same amount. Therefore the intervals between the samples do not change.
    """
    if sent_at is not None:
        offset = clock.now - sent_at
        wrong_rows = rows if abs(offset) > clock.limit else []
    else:
        any_in_retention = any(_is_in_retention(row["recorded_at"], clock) for row in rows)
        wrong_rows = [
            row
            for row in rows
            if row["recorded_at"] > clock.now + clock.limit
            or (not any_in_retention and row["recorded_at"] < clock.oldest)
        ]
        newest = max((row["recorded_at"] for row in wrong_rows), default=clock.now)
        offset = clock.now - newest
    for row in rows:
        row["device_time"] = None
    for row in wrong_rows:
        row["device_time"] = row["recorded_at"]
        row["recorded_at"] += offset


def _is_in_retention(recorded_at: datetime, clock: Clock) -> bool:
    return clock.oldest <= recorded_at <= clock.now + clock.limit
