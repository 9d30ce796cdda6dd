"""The seam by which the rooms above take part in a device's retirement."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

Retiring = Callable[[UUID, datetime], None]

_retiring: list[Retiring] = []


def when_retiring(act: Retiring) -> Retiring:
    """Act inside the transaction that retires a device; a refusal undoes everything."""
    _retiring.append(act)
    return act


def retiring(device_id: UUID, now: datetime) -> None:
    for act in _retiring:
        act(device_id, now)
