"""Prepared statements for the few queries that run very often.

For these queries, building the statement in the ORM takes longer than running it in
PostgreSQL. Planning the statement at each execution would add a similar time. All other
queries use the ORM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connection

_prepared_names: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()  # by connection


@dataclass(frozen=True, slots=True)
class PreparedStatement:
    """A prepared statement. $1, $2, … stand for the values passed at each execution."""

    name: str
    types: str  # PostgreSQL types of the values, such as "uuid, timestamptz"
    sql: str

    def fetch_all(self, *values: Any) -> list[tuple[Any, ...]]:
        """Run the statement and return all rows."""
        return self._run(values, fetch=True)[0]

    def fetch_one(self, *values: Any) -> tuple[Any, ...] | None:
        """Run the statement and return the first row, or None."""
        return next(iter(self.fetch_all(*values)), None)

    def execute(self, *values: Any) -> int:
        """Run the statement and return the number of affected rows."""
        return self._run(values, fetch=False)[1]

    def _run(self, values: Sequence[Any], *, fetch: bool) -> tuple[list[tuple[Any, ...]], int]:
        with connection.cursor() as cursor:
            names = _prepared_names.setdefault(connection.connection, set())
            if self.name not in names:
                cursor.execute(f"PREPARE {self.name} ({self.types}) AS {self.sql}")
                names.add(self.name)
            placeholders = ", ".join(["%s"] * len(values))
            cursor.execute(f"EXECUTE {self.name} ({placeholders})", values)
            return (cursor.fetchall() if fetch else []), cursor.rowcount
