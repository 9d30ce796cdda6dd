"""What a layer's document may say: the published schema, and what no schema can say.

Pure. The schema itself is the file `schema.json` beside this one.
"""

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
from devices.configurations.documents import canonical

SCHEMA: dict[str, Any] = json.loads(
    Path(__file__).with_name("schema.json").read_text(encoding="utf-8")
)
MOST_BYTES = 64 * 1024
DEEPEST = 20
LARGEST = 1e15  # of a number; what is larger is not the same number everywhere
MOST_FAULTS = 50


def _pattern(validator: Any, pattern: str, text: Any, schema: Any) -> Iterator[Any]:
    """As ECMA 262 has it: `$` is the very end, and not before a last line feed."""
    exact = pattern.removesuffix("$") + (r"\Z" if pattern.endswith("$") else "")
    if validator.is_type(text, "string") and not re.search(exact, text):
        yield ValidationError("It has not the form that is expected here.")


_validator = validators.extend(Draft202012Validator, {"pattern": _pattern})(SCHEMA)
_UNITS = {"maxLength": "characters", "maxItems": "entries", "maxProperties": "keys"}
_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: `schedule.0.on`, or "" for the whole document."""

    path: str
    sentence: str
    code: str = "invalid"


def faults(document: Any) -> list[Fault]:
    """Everything that is wrong with a layer's document, at most `MOST_FAULTS`."""
    if not isinstance(document, dict):
        return [Fault("", "A configuration is an object.")]
    if found := unstorable(document):
        return found
    found = [fault for error in _errors(document) for fault in _told(error)]
    at_fault = {fault.path.split(".")[0] for fault in found}
    for key, judge in (("time_zone", _time_zone), ("schedule", _schedule)):
        if key not in at_fault:
            found += judge(document)
    return list(dict.fromkeys(found))[:MOST_FAULTS]


def unstorable(document: dict[str, Any]) -> list[Fault]:
    """What stands against keeping an object, whatever it means."""
    return list(islice(_values(document, ()), MOST_FAULTS)) or _size(document)


def _values(value: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
    """What JSON allows and the database, or another machine's numbers, do not."""
    if len(path) > DEEPEST:
        yield Fault(_dotted(path), f"Nested deeper than {DEEPEST} levels.")
        return
    match value:
        case dict():
            for name, item in value.items():
                yield from _text(name, path)
                yield from _values(item, (*path, name))
        case list():
            for index, item in enumerate(value):
                yield from _values(item, (*path, index))
        case str():
            yield from _text(value, path)
        case bool() | None:
            pass
        case int() | float() if not abs(value) <= LARGEST:
            yield Fault(_dotted(path), "A number is at most 10 to the power of 15.")


def _text(text: str, path: tuple[str | int, ...]) -> Iterator[Fault]:
    try:
        text.encode()
    except UnicodeEncodeError:
        yield Fault(_dotted(path), "It holds half of a character.")
    if "\x00" in text:
        yield Fault(_dotted(path), "It holds a NUL character.")


def _size(document: dict[str, Any]) -> list[Fault]:
    size = len(canonical(document))
    if size <= MOST_BYTES:
        return []
    sentence = f"At most {MOST_BYTES // 1024} KB; this has {size // 1024}."
    return [Fault("", sentence, "too_large")]


def _errors(document: dict[str, Any]) -> list[Any]:
    found = _validator.iter_errors(document)
    return sorted(found, key=lambda error: list(map(str, error.absolute_path)))


def _told(error: Any) -> Iterator[Fault]:
    """One error of the validator in our words: its own repeat the whole value."""
    path, wanted = tuple(error.absolute_path), error.validator_value
    match error.validator:
        case "additionalProperties":
            known = sorted(error.schema["properties"])
            free = [name for name in known if name not in error.instance]
            for name in sorted(set(error.instance) - set(known)):
                yield Fault(_dotted((*path, name)), _no_such(name, free), "unknown")
            return
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            said = "A key begins with a letter and has letters, digits, _ and - only."
            yield Fault(_dotted((*path, str(error.instance)[:64])), said)
            return
        case "required":
            for name in wanted:
                if name not in error.instance:
                    yield Fault(_dotted((*path, name)), "It is missing.", "required")
            return
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            said = f"This is {' or '.join(_TYPES[kind] for kind in kinds)}."
        case "enum":
            said = f"One of {', '.join('null' if w is None else w for w in wanted)}."
        case "minimum" | "maximum":
            least, most = error.schema["minimum"], error.schema["maximum"]
            said = f"From {least} to {most}."
        case "minProperties" | "maxProperties" if error.schema.get("properties"):
            said = f"One of {' or '.join(error.schema['properties'])}, and only one."
        case "maxLength" | "maxItems" | "maxProperties":
            said = f"At most {wanted} {_UNITS[error.validator]}."
        case "minLength" | "minItems":
            said = "It is empty."
        case "uniqueItems":
            said = "Each only once."
        case _:
            said = "It has not the form that is expected here."
    yield Fault(_dotted(path), said)


def _no_such(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"There is no such key.{f' Is it {close[0]}?' if close else ''}"


def _time_zone(document: dict[str, Any]) -> list[Fault]:
    name = document.get("time_zone")
    if name is None or name in time_zones():
        return []
    return [Fault("time_zone", "There is no such time zone.", "unknown")]


@cache
def time_zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "Factory", "posixrules"})


def _schedule(document: dict[str, Any]) -> list[Fault]:
    found = schedules.overlaps(document.get("schedule") or ())
    return [
        Fault(
            f"schedule.{place}",
            "The time is on twice: it overlaps itself."
            if place == other
            else f"It overlaps the time at place {other}.",
            "overlap",
        )
        for place, other in found
    ]


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))[:300].encode(errors="replace").decode()
