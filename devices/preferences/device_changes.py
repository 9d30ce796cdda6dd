"""Read the changes of settings that a device sends, as far as possible."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.conversions import boolean_from, clamped, clean_json, clean_text, number_from
from core.ignored import Ignored
from devices.preferences.value_kinds import MAX_TEXT_LENGTH, ValueType, find_fault

NO_VALUE: Any = object()


def usable_changes(
    changes: Mapping[str, Any], types: Mapping[str, ValueType]
) -> tuple[dict[str, Any], list[Ignored]]:
    """Return the changes with a valid value, and what was converted or dropped.

    Args:
        changes: the `Change` of each setting, by key.
        types: the existing settings by key.
    """
    usable, ignored = {}, []
    for key, change in changes.items():
        path = f"settings.{clean_text(key, 64)}"
        if key not in types:
            ignored.append(Ignored(path, "unknown_setting", "The setting does not exist."))
            continue
        if change.has_value and change.reset:
            sentence = "Send either a value or reset, not both."
            ignored.append(Ignored(f"{path}.reset", "invalid", sentence))
            continue
        if change.has_value and (fault := find_fault(types[key], change.value)):
            value = _converted(types[key], change.value)
            code = "dropped" if value is NO_VALUE else "converted"
            ignored.append(Ignored(f"{path}.value", code, clean_text(fault)))
            if value is NO_VALUE:
                continue
            usable[key] = replace(change, value=value)
        else:
            usable[key] = change
    return usable, ignored


def _converted(value_type: ValueType, value: Any) -> Any:
    """Return what a value means for a setting of this type, or `NO_VALUE`."""
    converted = _converted_to_kind(value_type, value)
    is_valid = converted is not None and find_fault(value_type, converted) is None
    return converted if is_valid else NO_VALUE


def _converted_to_kind(value_type: ValueType, value: Any) -> Any:
    match value_type.kind:
        case "boolean":
            return boolean_from(value)
        case "integer":
            number = number_from(value)
            if number is not None:
                number = clamped(number, value_type.minimum, value_type.maximum)
            return None if number is None else round(number)
        case "text" if isinstance(value, str):
            return clean_json(value)[:MAX_TEXT_LENGTH]
        case "text" if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        case "choice" if isinstance(value, str):
            wanted = value.strip().casefold()
            return next((item for item in value_type.choices if item.casefold() == wanted), None)
        case "json":
            return clean_json(value)
    return None
