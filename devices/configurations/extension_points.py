"""The seam by which rooms above say something to all devices of a tenant."""

from collections.abc import Callable
from typing import Any

Saying = Callable[[], dict[str, Any]]

_saying: list[Saying] = []


def when_saying(add: Saying) -> Saying:
    """Add keys to the configuration of every device of the current tenant.

    They are keys that no operator can set. Whoever changes what it says asks for a
    round through the devices (`rounds.ask`), in the transaction that changes it.
    """
    _saying.append(add)
    return add


def house_says() -> dict[str, Any]:
    """What the rooms above say to all devices of the current tenant."""
    said: dict[str, Any] = {}
    for add in _saying:
        said |= add()
    return said
