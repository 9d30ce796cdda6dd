"""The seam by which the rooms above hear of samples that were stored."""

import logging
from collections.abc import Callable

from django.db import DatabaseError

from devices.metrics.sample_validation import Row
from devices.registry.models import Device

logger = logging.getLogger(__name__)

Hearer = Callable[[Device, Row], None]

_hearers: list[Hearer] = []


def when_stored(hear: Hearer) -> Hearer:
    """Hear of the newest sample of a request, after it is committed.

    It is on the way of every request: look at the row, and leave work to a worker.
    """
    _hearers.append(hear)
    return hear


def stored(device: Device, newest: Row) -> None:
    """The samples are committed: what goes wrong here is no reason to refuse them."""
    for hear in _hearers:
        try:
            hear(device, newest)
        except DatabaseError:
            logger.exception("A sample was stored, and not looked at")
