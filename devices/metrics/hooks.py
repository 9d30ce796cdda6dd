"""The seam by which the rooms above hear of samples that were stored."""

from collections.abc import Callable

from devices.metrics.samples import Row
from devices.models import Device

Hearer = Callable[[Device, Row], None]

_hearers: list[Hearer] = []


def when_stored(hear: Hearer) -> Hearer:
    """Hear of the newest sample of a request, after it is committed.

    It is on the way of every request: look at the row, and leave work to a worker.
    """
    _hearers.append(hear)
    return hear


def stored(device: Device, newest: Row) -> None:
    for hear in _hearers:
        hear(device, newest)
