"""The seam by which what happens to tenants and their members reaches the audit log.

The events stand above this room, so it cannot record a fact itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened to a tenant, in the past tense."""

    name: str
    tenant_id: UUID | None
    at: datetime
    data: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)


_hearers: list[Callable[[Happening], None]] = []


def when_something_happens(hear: Callable[[Happening], None]) -> None:
    """Hear of everything, inside the transaction that makes it happen."""
    _hearers.append(hear)


def announce(happening: Happening) -> None:
    for hear in _hearers:
        hear(happening)
