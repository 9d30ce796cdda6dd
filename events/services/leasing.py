"""Leases on rows that are delivered at least once.

A worker leases a row before an attempt. Other workers skip the row until the lease expires.
A failed attempt is repeated with back-off. After the last failed attempt, the row is dead.
"""

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
    """The duration of a lease, and the waiting times between attempts.

    Args:
        duration: time after which another worker may lease the row.
        waits: waiting times after failed attempts. If an attempt fails after the last
            waiting time, the row is dead.
    """

    duration: timedelta
    waits: Sequence[timedelta]

    @transaction.atomic
    def claim(self, rows: QuerySet[R], *, now: datetime) -> list[R]:
        """Lease the rows that no other worker has locked, and count an attempt for each row.

        If the worker is killed, the rows are due again after the lease has expired. A row
        whose last attempt ended without a result becomes dead, because it may kill every worker.
        """
        locked = list(rows.select_for_update(skip_locked=True, of=("self",)))
        claimed = [row for row in locked if row.attempts <= len(self.waits)]
        exhausted = [row.pk for row in locked if row.attempts > len(self.waits)]
        due_at = now + self.duration
        table = rows.model._base_manager  # workers lease the rows of all tenants
        table.filter(pk__in=exhausted).update(dead_at=now)
        table.filter(pk__in=[row.pk for row in claimed]).update(
            attempts=F("attempts") + 1, due_at=due_at
        )
        for row in claimed:
            row.attempts, row.due_at = row.attempts + 1, due_at
        return claimed

    def fail(self, row: Leasable, *, now: datetime) -> None:
        """Set the time of the next attempt, or mark the row as dead. The caller saves the row."""
        if row.attempts > len(self.waits):
            row.dead_at = now
        else:
            wait = self.waits[row.attempts - 1]
            row.due_at = now + wait * random.uniform(0.8, 1.2)


def revive(rows: QuerySet[R], *, now: datetime) -> int:
    """Make dead rows due again and reset their attempts. Return the number of rows."""
    return rows.update(dead_at=None, attempts=0, due_at=now)
