"""Validate a layer's document against `schema.json` and the rules beyond the schema."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from jsonschema import Draft202012Validator, ValidationError, validators

from devices.configurations import schedules
from devices.configurations.documents import canonical_json

SCHEMA: dict[str, Any] = json.loads(
    Path(__file__).with_name("schema.json").read_text(encoding="utf-8")
)
MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_NUMBER = 1e15  # programming languages represent larger numbers differently
MAX_FAULTS = 50
INVALID_FORMAT = "The value does not have the expected format."


def _validate_pattern(
    validator: Any, pattern: str, text: Any, schema: Any
) -> Iterator[Any]:
    """Match a pattern as ECMA 262 does: `$` does not match before a final line feed."""
    exact = pattern.removesuffix("$") + (r"\Z" if pattern.endswith("$") else "")
    if validator.is_type(text, "string") and not re.search(exact, text):
        yield ValidationError(INVALID_FORMAT)


_validator = validators.extend(Draft202012Validator, {"pattern": _validate_pattern})(
    SCHEMA
)
_UNITS = {"maxLength": "characters", "maxItems": "entries", "maxProperties": "keys"}
_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in a document.

    `path` is the place, for example `schedule.0.on`; it is empty for an error of the
    whole document.
    """

    path: str
    sentence: str
    code: str = "invalid"


def find_faults(document: Any) -> list[Fault]:
    """Return all errors of a layer's document, at most `MAX_FAULTS`."""
    if not isinstance(document, dict):
        return [Fault("", "The configuration must be a JSON object.")]
    if faults := find_storage_faults(document):
        return faults
    faults = [
        fault for error in _schema_errors(document) for fault in _faults_of(error)
    ]
    invalid_keys = {fault.path.split(".")[0] for fault in faults}
    for key, check in (("time_zone", _check_time_zone), ("schedule", _check_schedule)):
        if key not in invalid_keys:
            faults += check(document)
    return list(dict.fromkeys(faults))[:MAX_FAULTS]


def find_storage_faults(document: dict[str, Any]) -> list[Fault]:
    """Return the reasons why an object cannot be stored, regardless of its keys."""
    return list(islice(_check_values(document, ()), MAX_FAULTS)) or _check_size(
        document
    )


def _check_values(value: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
    """Find JSON values that PostgreSQL or other JSON readers cannot represent."""
    if len(path) > MAX_DEPTH:
        yield Fault(_dotted(path), f"Nested more than {MAX_DEPTH} levels deep.")
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
            yield Fault(
                _dotted(path), "Numbers must be between -10^15 and 10^15 inclusive."
            )


def _check_text(text: str, path: tuple[str | int, ...]) -> Iterator[Fault]:
    try:
        text.encode()
    except UnicodeEncodeError:
        yield Fault(_dotted(path), "The text contains an unpaired surrogate.")
    if "\x00" in text:
        yield Fault(_dotted(path), "The text contains a NUL character.")


def _check_size(document: dict[str, Any]) -> list[Fault]:
    size = len(canonical_json(document))
    if size <= MAX_BYTES:
        return []
    sentence = (
        f"The document has {size // 1024} KB. At most {MAX_BYTES // 1024} KB are "
        "allowed."
    )
    return [Fault("", sentence, "too_large")]


def _schema_errors(document: dict[str, Any]) -> list[Any]:
    errors = _validator.iter_errors(document)
    return sorted(errors, key=lambda error: list(map(str, error.absolute_path)))


def _faults_of(error: Any) -> Iterator[Fault]:
    """Convert an error of the validator, whose own message repeats the whole value."""
    path, limit = tuple(error.absolute_path), error.validator_value
    match error.validator:
        case "additionalProperties":
            known = sorted(error.schema["properties"])
            unused = [name for name in known if name not in error.instance]
            for name in sorted(set(error.instance) - set(known)):
                yield Fault(
                    _dotted((*path, name)), _unknown_key(name, unused), "unknown"
                )
            return
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            yield Fault(
                _dotted((*path, str(error.instance)[:64])),
                "A key must start with a letter and contain only letters, digits, _ "
                "and -.",
            )
            return
        case "required":
            for name in limit:
                if name not in error.instance:
                    yield Fault(_dotted((*path, name)), "Missing.", "required")
            return
        case "type":
            types = [limit] if isinstance(limit, str) else limit
            sentence = f"Must be {' or '.join(_TYPES[name] for name in types)}."
        case "enum":
            values = ", ".join("null" if value is None else value for value in limit)
            sentence = f"Must be one of: {values}."
        case "minimum" | "maximum":
            minimum, maximum = error.schema["minimum"], error.schema["maximum"]
            sentence = f"Must be from {minimum} to {maximum}."
        case "minProperties" | "maxProperties" if error.schema.get("properties"):
            sentence = f"Set exactly one of {' or '.join(error.schema['properties'])}."
        case "maxLength" | "maxItems" | "maxProperties":
            sentence = f"At most {limit} {_UNITS[error.validator]} are allowed."
        case "minLength" | "minItems":
            sentence = "Must not be empty."
        case "uniqueItems":
            sentence = "Each entry may occur only once."
        case _:
            sentence = INVALID_FORMAT
    yield Fault(_dotted(path), sentence)


def _unknown_key(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"Unknown key.{f' Did you mean {close[0]}?' if close else ''}"


def _check_time_zone(document: dict[str, Any]) -> list[Fault]:
    name = document.get("time_zone")
    if name is None or name in time_zones():
        return []
    return [
        Fault(
            "time_zone",
            "Unknown time zone. Use a name of the IANA database, such as "
            "Europe/Berlin.",
            "unknown",
        )
    ]


@cache
def time_zones() -> frozenset[str]:
    """Return the names of the time zones that a configuration can set."""
    return frozenset(available_timezones() - {"localtime", "Factory", "posixrules"})


def _check_schedule(document: dict[str, Any]) -> list[Fault]:
    overlaps = schedules.find_overlaps(document.get("schedule") or ())
    return [
        Fault(
            f"schedule.{index}",
            "The entry overlaps itself on consecutive days."
            if index == other
            else f"The entry overlaps entry {other}.",
            "overlap",
        )
        for index, other in overlaps
    ]


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))[:300].encode(errors="replace").decode()
