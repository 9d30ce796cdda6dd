"""Two seams by which the rooms above take part in what happens to a device."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

Retiring = Callable[[UUID, datetime], None]
NextSteps = Callable[[UUID, datetime], dict[str, Any]]

_retiring: list[Retiring] = []
_next_steps: list[NextSteps] = []


def when_retiring(act: Retiring) -> Retiring:
    """Act inside the transaction that retires a device; a refusal undoes everything."""
    _retiring.append(act)
    return act


def adds_next_steps(answer: NextSteps) -> NextSteps:
    """Add lines to the answer of `connect`; at most one indexed read each."""
    _next_steps.append(answer)
    return answer


def retiring(device_id: UUID, now: datetime) -> None:
    for act in _retiring:
        act(device_id, now)


def next_steps(device_id: UUID, now: datetime) -> dict[str, Any]:
    """What a device should do next, said by every room that has something to say."""
    steps: dict[str, Any] = {
        "configuration_version": None,
        "commands_waiting": 0,
        "update_waiting": False,
        "certificate_renewal_due": False,
        "certificate_serial_number": None,
    }
    for answer in _next_steps:
        steps |= answer(device_id, now)
    return steps
