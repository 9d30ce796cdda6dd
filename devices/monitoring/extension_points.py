"""The seam by which a room above says who has drifted from what it should be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from devices.registry.models import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifts:
    """Who has drifted, and how the audit log tells of it.

    `current` gives the current tenant's rows with `device_id`, and `since` when it is so.
    """

    current: Callable[[], QuerySet[Any]]
    begin: str  # the event that announces one; its data has `since`
    end: str


_told_by: list[Drifts] = []


def when_asked_for_drifts(drifts: Drifts) -> None:
    _told_by[:] = [drifts]


def drifts() -> Drifts | None:
    return next(iter(_told_by), None)


def drifted() -> QuerySet[Any]:
    """The current tenant's devices that have drifted: `watched`, and since when: `seen`."""
    told = drifts()
    return Device.objects.none() if told is None else told.current()
