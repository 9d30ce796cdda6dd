"""Maintenance windows of rollouts, in the local time of each device. Pure functions."""

from collections.abc import Sequence
from datetime import datetime

from core import weekly_times
from core.weekly_times import Entry, State

MAX_WINDOWS = 20
SCHEMA = weekly_times.schema(MAX_WINDOWS)


def window_state(windows: Sequence[Entry], zone: str, at: datetime) -> State:
    """Return whether a maintenance window is open, and when this changes.

    Args:
        windows: the maintenance windows. Without any, updates are always allowed.
        zone: time zone of the device.
        at: aware datetime.
    """
    if not windows:
        return State(True, None)
    return weekly_times.state_at(weekly_times.from_entries(windows), zone, at)
