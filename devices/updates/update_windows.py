"""When a device may be updated: windows by its own clock. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from devices.configurations.schedules import DAYS, screen

Window = Mapping[str, Any]  # {"days": ["monday"], "from": "02:00", "until": "05:00"}
MOST = 20
SCHEMA = {
    "type": "array",
    "maxItems": MOST,
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
class Opening:
    """Whether a window is open; until when, or from when on (None: that never changes)."""

    is_open: bool
    until: datetime | None


def opening(windows: Sequence[Window], zone: ZoneInfo, at: datetime) -> Opening:
    """As it is at a moment; without windows it is always open.

    A day is the one on which a window begins; one that does not end later than it
    begins ends on the next day.
    """
    if not windows:
        return Opening(True, None)
    found = screen(
        [
            {"days": each["days"], "on": each["from"], "off": each["until"]}
            for each in windows
        ],
        zone,
        at,
    )
    return Opening(found.is_on, found.until)
