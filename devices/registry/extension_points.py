"""The seams by which the rooms above take part: in a retirement, a connect, a page."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest

from devices.registry.models import Device, NextSteps

Retiring = Callable[[UUID, datetime], None]
Showing = Callable[[HttpRequest, Device], str]  # HTML
Telling = Callable[[Device, NextSteps | None, datetime], dict[str, Any]]

_retiring: list[Retiring] = []
_telling: list[Telling] = []
_showing: list[Showing] = []


def when_retiring(act: Retiring, *, first: bool = False) -> Retiring:
    """Act inside the transaction that retires a device; a refusal undoes everything.

    Args:
        first: before the others, for who takes locks that come before theirs.
    """
    _retiring.insert(0 if first else len(_retiring), act)
    return act


def retiring(device_id: UUID, now: datetime) -> None:
    for act in _retiring:
        act(device_id, now)


def when_telling(add: Telling) -> Telling:
    """Add lines to the answer of every connect: from what is in hand, not from a query."""
    _telling.append(add)
    return add


def telling(device: Device, steps: NextSteps | None, now: datetime) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for add in _telling:
        told |= add(device, steps, now)
    return told


def when_showing(draw: Showing) -> Showing:
    """Add a panel to the device's page in the portal; nothing is drawn as ""."""
    _showing.append(draw)
    return draw


def showing(request: HttpRequest, device: Device) -> list[str]:
    return [panel for panel in (draw(request, device) for draw in _showing) if panel]
