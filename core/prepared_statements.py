"""Statements that a connection plans once: for the few that are run all the time.

The ORM takes longer to build such a statement than PostgreSQL to run it, and planning
it anew each time takes as long again. Everything else goes through the ORM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connection

_known: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Prepared:
    """One statement with $1, $2, … for its values."""

    name: str
    types: str  # of the values, as PostgreSQL calls them: "uuid, timestamptz"
    sql: str

    def rows(self, *values: Any) -> list[tuple[Any, ...]]:
        """Run it; the whole answer."""
        return self._run(values, fetch=True)[0]

    def row(self, *values: Any) -> tuple[Any, ...] | None:
        """Run it; the first row of the answer."""
        return next(iter(self.rows(*values)), None)

    def changes(self, *values: Any) -> int:
        """Run it; how many rows it changed."""
        return self._run(values, fetch=False)[1]

    def _run(
        self, values: Sequence[Any], *, fetch: bool
    ) -> tuple[list[tuple[Any, ...]], int]:
        with connection.cursor() as cursor:
            known = _known.setdefault(connection.connection, set())
            if self.name not in known:
                cursor.execute(f"PREPARE {self.name} ({self.types}) AS {self.sql}")
                known.add(self.name)
            marks = ", ".join(["%s"] * len(values))
            cursor.execute(f"EXECUTE {self.name} ({marks})", values)
            return (cursor.fetchall() if fetch else []), cursor.rowcount
