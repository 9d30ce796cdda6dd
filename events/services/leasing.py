"""Leases on rows that are delivered at least once: claim, back off, give up, try again."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from django.db import transaction
from django.db.models import F, QuerySet


class Leasable(Protocol):
    """A row that is to be delivered."""

    attempts: int
    due_at: datetime
    dead_at: datetime | None


R = TypeVar("R", bound=Any)  # a model that is `Leasable`


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """How long a worker may take, and how long to wait between attempts.

    Args:
        duration: after which another worker may claim the row.
        waits: after each failed attempt but the last; the row is then dead.
    """

    duration: timedelta
    waits: Sequence[timedelta]

    @transaction.atomic
    def claim(self, rows: QuerySet[R], *, now: datetime) -> list[R]:
        """Lock the rows that no other worker has locked, and count an attempt of each.

        If the worker is killed, the rows are due again when the lease is over.
        """
        claimed = list(rows.select_for_update(skip_locked=True, of=("self",)))
        due_at = now + self.duration
        keys = [row.pk for row in claimed]
        rows.model._base_manager.filter(pk__in=keys).update(
            attempts=F("attempts") + 1, due_at=due_at
        )
        for row in claimed:
            row.attempts, row.due_at = row.attempts + 1, due_at
        return claimed

    def fail(self, row: Leasable, *, now: datetime) -> None:
        """Set when the row is tried again, or that it is dead; the caller saves it."""
        if row.attempts > len(self.waits):
            row.dead_at = now
        else:
            wait = self.waits[row.attempts - 1]
            row.due_at = now + wait * random.uniform(0.8, 1.2)


def revive(rows: QuerySet[R], *, now: datetime) -> int:
    """Make dead rows due again, with all attempts. Return how many."""
    return rows.update(dead_at=None, attempts=0, due_at=now)
