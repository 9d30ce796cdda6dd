"""Prepared statements for the few queries that run very often.

For these queries, building the statement in the ORM takes longer than running it in
PostgreSQL. Planning the statement at each execution would add a similar time. All other
queries use the ORM.

With the setting `PREPARED_STATEMENTS=off`, the statements are sent without being prepared.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings
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
            if not settings.PREPARED_STATEMENTS:
                cursor.execute(_with_placeholders(self.sql, self.types), _numbered(values))
                return (cursor.fetchall() if fetch else []), cursor.rowcount
            prepared = _prepared_names.setdefault(connection.connection, set())
            if self.name not in prepared:
                cursor.execute(f"PREPARE {self.name} ({self.types}) AS {self.sql}")
                prepared.add(self.name)
            placeholders = ", ".join(["%s"] * len(values))
            cursor.execute(f"EXECUTE {self.name} ({placeholders})", values)
            return (cursor.fetchall() if fetch else []), cursor.rowcount


@cache
def _with_placeholders(sql: str, types: str) -> str:
    """Return the statement with a typed placeholder of psycopg2 for each `$1`, `$2`, …"""
    casts = [name.strip() for name in types.split(",")]

    def placeholder(match: re.Match[str]) -> str:
        return f"%({match[1]})s::{casts[int(match[1]) - 1]}"

    return re.sub(r"\$(\d+)", placeholder, sql.replace("%", "%%"))


def _numbered(values: Sequence[Any]) -> dict[str, Any]:
    return {str(number): value for number, value in enumerate(values, start=1)}
