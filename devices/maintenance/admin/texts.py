"""Texts about maintenance windows on portal pages."""

from collections.abc import Iterable
from datetime import datetime

from core.times import local_text
from devices.maintenance.models import MaintenanceWindow
from devices.maintenance.services import open_windows


def time_text(window: MaintenanceWindow) -> str:
    """Return the times of a window, such as `monday, tuesday 22:00 to 06:00, local time`."""
    if window.starts_at and window.ends_at:
        return f"{local_text(window.starts_at)} to {local_text(window.ends_at)}"
    times = "; ".join(
        f"{', '.join(entry['days'])} {entry['from']} to {entry['until']}" for entry in window.times
    )
    return f"{times}, {window.time_zone or 'local time'}"


def state_text(window: MaintenanceWindow, now: datetime, zones: Iterable[str]) -> str:
    """Return whether a window is open, and when this changes.

    Args:
        zones: the time zones that sites of the tenant have.
    """
    states = open_windows.states_of(window, zones, now=now).values()
    opened = [state for state in states if state.is_on]
    moments = [state.until for state in opened or states if state.until is not None]
    if opened:
        return f"Open until {local_text(max(moments))}" if moments else "Open"
    return f"Opens {local_text(min(moments))}" if moments else "Over"
