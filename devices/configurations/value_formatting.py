"""Pure functions that format configuration keys and values for display."""

import json
from typing import Any

from core.weekly_times import DAYS
from devices.configurations.document_validation import SCHEMA
from devices.configurations.documents import EXTRA

MAX_LENGTH = 200


def label(key: str) -> str:
    """Return a key's title, such as `Time zone`. Keys below `extra` have no title."""
    if key.startswith(f"{EXTRA}."):
        return key
    title: str = SCHEMA["properties"].get(key, {}).get("title", key)
    return title


def sort_key(key: str) -> tuple[int, str]:
    """Return a sort key with the order of the schema. Unknown keys are sorted last."""
    known = list(SCHEMA["properties"])
    name = key.split(".", 1)[0]
    return (known.index(name) if name in known else len(known), key)


def format_value(key: str, value: Any) -> str:
    """Format the value of a key on one line. The value None stands for `null`."""
    if value is None:
        return "left to the device"
    try:
        text = _format_known(key, value)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        text = None  # a device can report values that do not match the schema
    if text is None:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:MAX_LENGTH]


def _format_known(key: str, value: Any) -> str | None:
    match key:
        case "resolution":
            return f"{value['width']} × {value['height']}"
        case "launch":
            return str(next(iter(value.values())))
        case "schedule":
            return "; ".join(map(_format_entry, value)) or "never on"
        case "orientation":
            return str(value).replace("_", " ")
    return None


def _format_entry(entry: dict[str, Any]) -> str:
    on, off = entry["on"], entry["off"]
    until = f"{off} the next day" if off <= on else off
    return f"{_format_days(entry['days'])} {on} to {until}"


def _format_days(days: list[str]) -> str:
    """Format days as ranges: `Mon–Fri, Sun`."""
    numbers = sorted(DAYS.index(day) for day in days)
    if len(numbers) == len(DAYS):
        return "daily"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(map(_format_run, runs))


def _format_run(run: list[int]) -> str:
    first, last = (DAYS[number][:3].capitalize() for number in (run[0], run[-1]))
    if len(run) == 1:
        return first
    return f"{first}, {last}" if len(run) == 2 else f"{first}–{last}"
