"""Django's PostgreSQL backend, with the tenant's scope on every statement.

The scope travels in front of the statement that needs it, in the same message: no
round trip more, and nothing is left on the connection for whoever has it next.
"""

import time
from typing import Any

import psycopg2.extensions
from django.db.backends.postgresql import base

from tenants.context import database_scope
from tenants.postgresql.row_security import SETTING

TRUSTED_FOR = 1.0  # seconds
OUTSIDE_THE_WALL = ("SAVEPOINT", "RELEASE", "ROLLBACK", "SET ", "VACUUM")


class ScopedCursor(psycopg2.extensions.cursor):
    """Tells PostgreSQL with each statement for which tenant it is."""

    def execute(self, query: Any, vars: Any = None) -> None:
        scope = database_scope()
        # Outside a transaction an earlier scope is gone by itself.
        bare = not scope and self.connection.autocommit
        if bare or not isinstance(query, str) or query.startswith(OUTSIDE_THE_WALL):
            return super().execute(query, vars)
        if self.name is not None:
            return self._declare(scope, query, vars)
        return super().execute(f"SET LOCAL {SETTING} = '{scope}'; {query}", vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        for values in vars_list:
            self.execute(query, values)

    def _declare(self, scope: str, query: Any, vars: Any) -> None:
        """A cursor on the server takes no second statement in front of it.

        Outside a transaction it is read to its end when it is declared, so the scope
        stands for just so long.
        """
        held = self.connection.autocommit
        with self.connection.cursor(cursor_factory=psycopg2.extensions.cursor) as plain:
            plain.execute(f"SET {'' if held else 'LOCAL '}{SETTING} = '{scope}'")
            try:
                super().execute(query, vars)
            finally:
                if held:
                    plain.execute(f"RESET {SETTING}")


class DatabaseWrapper(base.DatabaseWrapper):
    """Scoped cursors; and a health check that knows when it can be spared.

    Django asks a kept connection `SELECT 1` at the start of every request. One that
    answered a moment ago is not asked again: on the hot path that was a third of all
    statements. One that breaks within that moment fails its request, and the next
    request gets a new one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answered_at = 0.0

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        return super().get_new_connection(
            {**conn_params, "cursor_factory": ScopedCursor}
        )

    def close_if_health_check_failed(self) -> None:
        now = time.monotonic()
        if now - self._answered_at > TRUSTED_FOR:
            super().close_if_health_check_failed()
        self._answered_at = now

    def close_if_unusable_or_obsolete(self) -> None:
        if self.errors_occurred:
            self._answered_at = 0.0
        super().close_if_unusable_or_obsolete()
