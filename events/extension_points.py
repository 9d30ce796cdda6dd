"""The seam by which the registry, which stands above, tells of the devices in events."""

from collections.abc import Callable, Collection
from uuid import UUID

Names = Callable[[Collection[UUID]], dict[UUID, str]]
Wearing = Callable[[str, Collection[UUID]], set[UUID]]

_names: list[Names] = []
_wearing: list[Wearing] = []


def known_by(names: Names, wearing: Wearing) -> None:
    """Say how devices are called, and which of them wear a tag."""
    _names[:], _wearing[:] = [names], [wearing]


def names_of(device_ids: Collection[UUID]) -> dict[UUID, str]:
    return _names[0](device_ids) if _names and device_ids else {}


def wearing(tag: str, device_ids: Collection[UUID]) -> set[UUID]:
    """Which of the devices wear the tag."""
    return _wearing[0](tag, device_ids) if _wearing and device_ids else set()
