"""What the value of a preference may be. Pure."""

import json
import re
from collections.abc import Sequence
from typing import Any, Protocol

KEY = r"[a-z][a-z0-9_]{0,63}"
LARGEST = 2**53 - 1  # a whole number that every JSON reader reads the same
LONGEST_TEXT = 1_000
MOST_BYTES = 16 * 1024  # of a JSON value
MOST_CHOICES = 100
DEEPEST = 20


class Typed(Protocol):
    """What of a definition says which values there are."""

    @property
    def kind(self) -> str: ...
    @property
    def minimum(self) -> int | None: ...
    @property
    def maximum(self) -> int | None: ...
    @property
    def choices(self) -> Sequence[str]: ...


def fault(typed: Typed, value: Any) -> str | None:
    """Why something is no value of this kind; None if it is one."""
    match typed.kind:
        case "boolean":
            return None if isinstance(value, bool) else "This is true or false."
        case "integer":
            return _integer(typed, value)
        case "text":
            return _text(value)
        case "choice":
            good = isinstance(value, str) and value in typed.choices
            return None if good else f"One of {', '.join(typed.choices)}."
        case _:
            return _json(value)


def definition_fault(key: str, typed: Typed) -> tuple[str, str] | None:
    """Which field of a definition cannot be so, and why."""
    if not re.fullmatch(KEY, key):
        return "key", "Small letters, digits and _, at most 64, a letter first."
    if typed.kind == "integer":
        least, most = typed.minimum, typed.maximum
        for name, bound in (("minimum", least), ("maximum", most)):
            if bound is not None and abs(bound) > LARGEST:
                return name, "It is too large."
        if least is not None and most is not None and least > most:
            return "maximum", "It is below the minimum."
    if typed.kind == "choice":
        return _choices(typed.choices)
    return None


def _choices(choices: Sequence[Any]) -> tuple[str, str] | None:
    if not choices:
        return "choices", "At least one."
    if len(choices) > MOST_CHOICES:
        return "choices", f"At most {MOST_CHOICES}."
    for choice in choices:
        if not isinstance(choice, str) or not choice or len(choice) > 64:
            return "choices", "Each is a text of 1 to 64 characters."
        if said := _storable(choice):
            return "choices", said
    if len(set(choices)) < len(choices):
        return "choices", "Each only once."
    return None


def _integer(typed: Typed, value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return "This is a whole number."
    least = -LARGEST if typed.minimum is None else typed.minimum
    most = LARGEST if typed.maximum is None else typed.maximum
    return None if least <= value <= most else f"From {least} to {most}."


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return "This is a text."
    if len(value) > LONGEST_TEXT:
        return f"At most {LONGEST_TEXT} characters."
    return _storable(value)


def _json(value: Any) -> str | None:
    if value is None:
        return "Null is no value; reset it to have the default."
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return "It cannot be kept."
    if len(text) > MOST_BYTES:
        return f"At most {MOST_BYTES // 1024} KB."
    if _depth(value) > DEEPEST:
        return f"Nested deeper than {DEEPEST} levels."
    return _storable(text) or (
        "It holds a NUL character." if r"\u0000" in text else None
    )


def _storable(text: str) -> str | None:
    if "\x00" in text:
        return "It holds a NUL character."
    try:
        text.encode()
    except UnicodeEncodeError:
        return "It holds half of a character."
    return None


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inside = [v for v in level if isinstance(v, list | dict)]
        level = [
            item
            for found in inside
            for item in (found.values() if isinstance(found, dict) else found)
        ]
    return depth
