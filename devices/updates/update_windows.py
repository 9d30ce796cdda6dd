"""Maintenance windows of rollouts, in the local time of each device. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from devices.configurations.schedules import DAYS, screen_state

Window = Mapping[str, Any]  # {"days": ["monday"], "from": "02:00", "until": "05:00"}
MAX_WINDOWS = 20
SCHEMA = {
    "type": "array",
    "maxItems": MAX_WINDOWS,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["days", "from", "until"],
        "properties": {
            "days": {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": {"enum": list(DAYS)},
            },
            "from": {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
            "until": {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
        },
    },
}


@dataclass(frozen=True, slots=True)
class WindowState:
    """The state of maintenance windows at a given time.

    `until` is when the open window closes, or when the next window opens. It is None if
    the state never changes.
    """

    is_open: bool
    until: datetime | None


def window_state(windows: Sequence[Window], zone: ZoneInfo, at: datetime) -> WindowState:
    """Return the state of the maintenance windows at the given time.

    A window belongs to the day on which it starts. A window whose end is not after its
    start ends on the next day.

    Args:
        windows: the maintenance windows. Without any, updates are always allowed.
        zone: time zone of the device.
        at: aware datetime.
    """
    if not windows:
        return WindowState(True, None)
    schedule = [
        {"days": window["days"], "on": window["from"], "off": window["until"]} for window in windows
    ]
    state = screen_state(schedule, zone, at)
    return WindowState(state.is_on, state.until)
