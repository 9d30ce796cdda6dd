"""Pure validation of preference definitions and values by kind."""

import json
import re
from collections.abc import Sequence
from typing import Any, Protocol

KEY = r"[a-z][a-z0-9_]{0,63}"
LARGEST = 2**53 - 1  # the largest whole number that all JSON readers read exactly
MAX_TEXT_LENGTH = 1_000
MAX_JSON_LENGTH = 16 * 1024  # characters
MAX_CHOICES = 100
MAX_DEPTH = 20
NUL_CHARACTER = "The text contains a NUL character."


class ValueType(Protocol):
    """The fields of a definition that determine which values are valid."""

    @property
    def kind(self) -> str: ...
    @property
    def minimum(self) -> int | None: ...
    @property
    def maximum(self) -> int | None: ...
    @property
    def choices(self) -> Sequence[str]: ...


def find_fault(value_type: ValueType, value: Any) -> str | None:
    """Return why a value is not valid for a type, None if the value is valid."""
    match value_type.kind:
        case "boolean":
            return None if isinstance(value, bool) else "Must be true or false."
        case "integer":
            return _integer_fault(value_type, value)
        case "text":
            return _text_fault(value)
        case "choice":
            is_valid = isinstance(value, str) and value in value_type.choices
            choices = ", ".join(value_type.choices)
            return None if is_valid else f"Must be one of: {choices}."
        case _:
            return _json_fault(value)


def find_definition_fault(key: str, value_type: ValueType) -> tuple[str, str] | None:
    """Return an invalid field and the reason, None if the definition is valid."""
    if not re.fullmatch(KEY, key):
        return (
            "key",
            "Must start with a lowercase letter and contain only lowercase letters, "
            "digits and _, at most 64 characters.",
        )
    if value_type.kind == "integer":
        minimum, maximum = value_type.minimum, value_type.maximum
        for name, bound in (("minimum", minimum), ("maximum", maximum)):
            if bound is not None and abs(bound) > LARGEST:
                return name, f"Must be from {-LARGEST} to {LARGEST}."
        if minimum is not None and maximum is not None and minimum > maximum:
            return "maximum", "Must not be less than the minimum."
    if value_type.kind == "choice":
        return _choices_fault(value_type.choices)
    return None


def _choices_fault(choices: Sequence[Any]) -> tuple[str, str] | None:
    if not choices:
        return "choices", "At least one choice is required."
    if len(choices) > MAX_CHOICES:
        return "choices", f"At most {MAX_CHOICES} choices are allowed."
    for choice in choices:
        if not isinstance(choice, str) or not choice or len(choice) > 64:
            return "choices", "Each choice must be a string of 1 to 64 characters."
        if fault := _storage_fault(choice):
            return "choices", fault
    if len(set(choices)) < len(choices):
        return "choices", "Each choice may occur only once."
    return None


def _integer_fault(value_type: ValueType, value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return "Must be a whole number."
    minimum = -LARGEST if value_type.minimum is None else value_type.minimum
    maximum = LARGEST if value_type.maximum is None else value_type.maximum
    if minimum <= value <= maximum:
        return None
    return f"Must be from {minimum} to {maximum}."


def _text_fault(value: Any) -> str | None:
    if not isinstance(value, str):
        return "Must be a string."
    if len(value) > MAX_TEXT_LENGTH:
        return f"At most {MAX_TEXT_LENGTH} characters are allowed."
    return _storage_fault(value)


def _json_fault(value: Any) -> str | None:
    if value is None:
        return "Null is not allowed. Reset the setting to use the default."
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return "The value cannot be stored as JSON."
    if len(text) > MAX_JSON_LENGTH:
        return f"At most {MAX_JSON_LENGTH // 1024} KB are allowed."
    if _depth(value) > MAX_DEPTH:
        return f"Nested more than {MAX_DEPTH} levels deep."
    return _storage_fault(text) or (NUL_CHARACTER if r"\u0000" in text else None)


def _storage_fault(text: str) -> str | None:
    if "\x00" in text:
        return NUL_CHARACTER
    try:
        text.encode()
    except UnicodeEncodeError:
        return "The text contains an unpaired surrogate."
    return None


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        containers = [item for item in level if isinstance(item, list | dict)]
        level = [
            item
            for container in containers
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return depth
