"""Values of configurations as a person reads them. Pure."""

import json
from typing import Any

from devices.configurations.document_validation import SCHEMA
from devices.configurations.documents import OPEN
from devices.configurations.schedules import DAYS

LONGEST = 200


def label(key: str) -> str:
    """`Time zone`; a tenant's own key as it is."""
    if key.startswith(f"{OPEN}."):
        return key
    found: str = SCHEMA["properties"].get(key, {}).get("title", key)
    return found


def place(key: str) -> tuple[int, str]:
    """Keys in the order of the schema, a tenant's own last."""
    known = list(SCHEMA["properties"])
    name = key.split(".")[0]
    return (known.index(name) if name in known else len(known), key)


def value(key: str, said: Any) -> str:
    """What a key says, on one line; None is as `null` in a document."""
    if said is None:
        return "left to the device"
    try:
        told = _known(key, said)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        told = None  # a device may say what the schema does not know
    if told is None:
        told = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    return told[:LONGEST]


def _known(key: str, said: Any) -> str | None:
    match key:
        case "resolution":
            return f"{said['width']} × {said['height']}"
        case "launch":
            return str(next(iter(said.values())))
        case "schedule":
            return "; ".join(map(_time, said)) or "never on"
        case "orientation":
            return str(said).replace("_", " ")
    return None


def _time(entry: dict[str, Any]) -> str:
    on, off = entry["on"], entry["off"]
    until = f"{off} the next day" if off <= on else off
    return f"{_days(entry['days'])} {on} to {until}"


def _days(said: list[str]) -> str:
    """`Mon–Fri, Sun`."""
    numbers = sorted(DAYS.index(day) for day in said)
    if len(numbers) == len(DAYS):
        return "daily"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(_run(run) for run in runs)


def _run(run: list[int]) -> str:
    first, last = (DAYS[number][:3].capitalize() for number in (run[0], run[-1]))
    if len(run) == 1:
        return first
    return f"{first}, {last}" if len(run) == 2 else f"{first}–{last}"
