"""Validate a layer's document against `schema.json` and additional rules."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators

from core import weekly_times
from core.json_schema import INVALID_FORMAT, SchemaError, dotted, find_errors
from core.time_zones import time_zones
from devices.configurations.documents import canonical_json

SCHEMA: dict[str, Any] = json.loads(
    Path(__file__).with_name("schema.json").read_text(encoding="utf-8")
)
MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_NUMBER = 1e15  # programming languages represent larger numbers differently
MAX_FAULTS = 50


def _validate_pattern(validator: Any, pattern: str, text: Any, schema: Any) -> Iterator[Any]:
    """Match a pattern by the rules of ECMA 262: `$` does not match before a final line feed."""
    exact = pattern.removesuffix("$") + (r"\Z" if pattern.endswith("$") else "")
    if validator.is_type(text, "string") and not re.search(exact, text):
        yield ValidationError(INVALID_FORMAT)


_validator = validators.extend(Draft202012Validator, {"pattern": _validate_pattern})(SCHEMA)
_CODES = {"additionalProperties": "unknown", "required": "required"}


def find_faults(document: Any) -> list[SchemaError]:
    """Return the errors of a layer's document, at most `MAX_FAULTS` of them."""
    if not isinstance(document, dict):
        return [SchemaError("", "The configuration must be a JSON object.")]
    if faults := find_storage_faults(document):
        return faults
    faults = list(find_errors(_validator, document, codes=_CODES))
    invalid_keys = {fault.path.split(".")[0] for fault in faults}
    for key, check in (("time_zone", _check_time_zone), ("schedule", _check_schedule)):
        if key not in invalid_keys:
            faults += check(document)
    return list(dict.fromkeys(faults))[:MAX_FAULTS]


def find_storage_faults(document: dict[str, Any]) -> list[SchemaError]:
    """Return the reasons why an object cannot be stored, regardless of its keys."""
    return list(islice(_check_values(document, ()), MAX_FAULTS)) or _check_size(document)


def _check_values(value: Any, path: tuple[str | int, ...]) -> Iterator[SchemaError]:
    """Find JSON values that PostgreSQL or other JSON readers cannot represent."""
    if len(path) > MAX_DEPTH:
        yield SchemaError(dotted(path), f"Nested more than {MAX_DEPTH} levels deep.")
        return
    match value:
        case dict():
            for name, item in value.items():
                yield from _check_text(name, path)
                yield from _check_values(item, (*path, name))
        case list():
            for index, item in enumerate(value):
                yield from _check_values(item, (*path, index))
        case str():
            yield from _check_text(value, path)
        case bool() | None:
            pass
        case int() | float() if not abs(value) <= MAX_NUMBER:
            yield SchemaError(dotted(path), "Numbers must be between -10^15 and 10^15 inclusive.")


def _check_text(text: str, path: tuple[str | int, ...]) -> Iterator[SchemaError]:
    try:
        text.encode()
    except UnicodeEncodeError:
        yield SchemaError(dotted(path), "The text contains an unpaired surrogate.")
    if "\x00" in text:
        yield SchemaError(dotted(path), "The text contains a NUL character.")


def _check_size(document: dict[str, Any]) -> list[SchemaError]:
    size = len(canonical_json(document))
    if size <= MAX_BYTES:
        return []
    sentence = f"The document has {size // 1024} KB. At most {MAX_BYTES // 1024} KB are allowed."
    return [SchemaError("", sentence, "too_large")]


def _check_time_zone(document: dict[str, Any]) -> list[SchemaError]:
    name = document.get("time_zone")
    if name is None or name in time_zones():
        return []
    return [
        SchemaError(
            "time_zone",
            "Unknown time zone. Use a name of the IANA database, such as Europe/Berlin.",
            "unknown",
        )
    ]


def _check_schedule(document: dict[str, Any]) -> list[SchemaError]:
    times = weekly_times.from_entries(document.get("schedule") or (), start="on", end="off")
    overlaps = weekly_times.find_overlaps(times)
    return [
        SchemaError(
            f"schedule.{index}",
            "The entry overlaps itself on consecutive days."
            if index == other
            else f"The entry overlaps entry {other}.",
            "overlap",
        )
        for index, other in overlaps
    ]
