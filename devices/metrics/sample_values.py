"""Read the values of a sample: as they are, converted where their meaning is clear, or dropped."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from core.conversions import boolean_from, clamped, clean_json, clean_text, number_from
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

Row = dict[str, Any]  # values by column, ready to be stored


class UnusableValue(Exception):
    """A value of a sample cannot be used as it was sent.

    Attributes:
        path: dotted path in the sample's JSON.
        value: what is stored in its place; None if the value is dropped.
    """

    def __init__(self, path: str, code: str, message: str, value: Any = None) -> None:
        super().__init__(message)
        self.path, self.code, self.message, self.value = path, code, message, value


def read_values(sample: dict[str, Any]) -> tuple[Row, list[UnusableValue]]:
    """Return the values of a sample by column, without its time, and its faults."""
    row: Row = {}
    faults: dict[str, UnusableValue] = {}  # one for each path
    for spec in FIELDS:
        try:
            value = _value_at(sample, spec)
            row[spec.column] = None if value is None else _READERS[spec.kind](value, spec)
        except UnusableValue as fault:
            row[spec.column] = fault.value
            faults.setdefault(fault.path, fault)
    try:
        row["extra"] = _extra(sample)
    except UnusableValue as fault:
        row["extra"] = fault.value
        faults.setdefault(fault.path, fault)
    faults |= {fault.path: fault for fault in _derive(row)}
    return row, list(faults.values())


def parse_time(value: Any) -> datetime | None:
    """Return a time with a time zone (RFC 3339) in UTC; None if the value is no such time."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            time = datetime.fromisoformat(value.strip())
            return time.astimezone(UTC) if time.tzinfo is not None else None
        except (ValueError, OverflowError):
            pass
    return None


def _value_at(sample: dict[str, Any], spec: Field) -> Any:
    if len(spec.path) == 1:
        return sample.get(spec.path[0])
    group = sample.get(spec.path[0])
    if group is None:
        return None
    if not isinstance(group, dict):
        raise UnusableValue(spec.path[0], "invalid", "This must be a JSON object.")
    return group.get(spec.path[1])


def _number(value: Any, spec: Field) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and spec.minimum <= value <= spec.maximum:
        number: float = value
        return number
    path = _dotted(spec)
    if isinstance(value, float) and not math.isfinite(value):
        raise UnusableValue(path, "not_finite", "This must be a finite number.")
    message = f"This must be between {spec.minimum:,g} and {spec.maximum:,g} {spec.unit}".strip()
    found = number_from(value)
    if found is None:
        code = "out_of_bounds" if is_number else "invalid"
        raise UnusableValue(path, code, f"{message}." if is_number else "This must be a number.")
    nearest = clamped(found, spec.minimum, spec.maximum)
    if nearest is None:
        raise UnusableValue(path, "out_of_bounds", f"{message}.")
    code = "converted" if nearest == found else "out_of_bounds"
    raise UnusableValue(path, code, f"{message}.", nearest)


def _integer(value: Any, spec: Field) -> int:
    try:
        return round(_number(value, spec))
    except UnusableValue as fault:
        fault.value = None if fault.value is None else round(fault.value)
        raise


def _boolean(value: Any, spec: Field) -> bool:
    if isinstance(value, bool):
        return value
    truth = boolean_from(value)
    code = "invalid" if truth is None else "converted"
    raise UnusableValue(_dotted(spec), code, "This must be true or false.", truth)


def _string(value: Any, spec: Field) -> str:
    text = value if isinstance(value, str) else _text_of_number(value, spec)
    cleaned = clean_text(text, spec.max_length)
    if cleaned == value:
        return cleaned
    code = "max_length" if len(text) > spec.max_length else "converted"
    message = f"This must be one line of text with at most {spec.max_length} characters."
    raise UnusableValue(_dotted(spec), code, message, cleaned or None)


def _text_of_number(value: Any, spec: Field) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnusableValue(_dotted(spec), "invalid", "This must be a string.")
    return str(value)


def _strings(value: Any, spec: Field) -> str:
    path, message = _dotted(spec), f"This must be a list of at most {MAX_STRINGS} strings."
    if not isinstance(value, list):
        raise UnusableValue(path, "invalid", message)
    texts = [clean_text(item, spec.max_length) for item in value if isinstance(item, str)]
    stored = json.dumps(texts[:MAX_STRINGS])
    if texts == value and len(texts) <= MAX_STRINGS:
        return stored
    code = "max_length" if len(value) > MAX_STRINGS else "invalid"
    raise UnusableValue(path, code, message, stored)


_READERS = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "string": _string,
    "strings": _strings,
}


def _derive(row: Row) -> Iterator[UnusableValue]:
    """Compute the percentages and `is_connected`. Yield the faults in the source columns."""
    for percentage, used, total in PERCENTAGES:
        row[percentage] = None
        if row[used] is not None and row[total] is not None:
            if row[used] > row[total]:
                message = f"This must not exceed the total of {row[total]:,} MB."
                row[used] = None
                yield UnusableValue(used, "more_than_total", message)
            else:
                row[percentage] = 100 * row[used] / row[total]
    network_type = row["network_type"]
    row["is_connected"] = None if network_type is None else int(network_type.lower() != NO_NETWORK)


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
    path = clean_text(min(extra), 64)
    if _count_keys(extra) > MAX_EXTRA_KEYS:
        message = f"Unknown fields may have at most {MAX_EXTRA_KEYS} names."
        raise UnusableValue(path, "too_much_extra", message)
    try:
        text = json.dumps(extra, allow_nan=False, ensure_ascii=True)
        is_clean = "\\u0000" not in text and "\\ud" not in text
    except ValueError:
        is_clean = False
    if not is_clean:
        cleaned = clean_json(extra)
        text = json.dumps(cleaned)
        is_clean = cleaned == extra
    if len(text) > MAX_EXTRA_LENGTH:
        message = f"Unknown fields may have at most {MAX_EXTRA_LENGTH:,} characters of JSON."
        raise UnusableValue(path, "too_much_extra", message)
    if not is_clean:
        message = "Numbers must be finite, and texts must be valid Unicode without NUL characters."
        raise UnusableValue(path, "converted", message, text)
    return text


def _count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_keys, value.values()))
    return sum(map(_count_keys, value)) if isinstance(value, list) else 0


def _dotted(spec: Field) -> str:
    return ".".join(spec.path)
