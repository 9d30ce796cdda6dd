"""Django's PostgreSQL backend, extended to send the tenant scope with every statement.

The scope is sent in the same message, in front of the statement. So it costs no extra round
trip, and no setting remains on the connection for the next request.
"""

import time
from functools import cache
from typing import Any

import psycopg2.extensions
from django.conf import settings
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

from core.database_errors import READ_ONLY, sqlstate
from core.statement_limit import milliseconds
from tenants.context import database_scope
from tenants.postgresql.row_security import SETTING

HEALTHY_FOR = 1.0  # seconds after a health check in which no other check is needed
WITHOUT_SCOPE = ("SAVEPOINT", "RELEASE", "ROLLBACK", "SET ", "VACUUM")


class ScopedCursor(psycopg2.extensions.cursor):
    """Cursor that sets the scope of row-level security for each statement."""

    def execute(self, query: Any, vars: Any = None) -> None:
        scope = database_scope()
        # Outside a transaction, the SET LOCAL of an earlier statement has already ended.
        plain = not scope and self.connection.autocommit
        if plain or not isinstance(query, str) or query.startswith(WITHOUT_SCOPE):
            return super().execute(query, vars)
        if self.name is not None:
            return self._declare(scope, query, vars)
        parameters = f"SET LOCAL {SETTING} = '{scope}'; {_timeouts()}"
        if (limit := milliseconds()) is not None:
            parameters += f"SET LOCAL statement_timeout = {limit}; "
        return super().execute(f"{parameters}{query}", vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        for values in vars_list:
            self.execute(query, values)

    def _declare(self, scope: str, query: Any, vars: Any) -> None:
        """Open a server-side cursor. Set the scope in a separate statement.

        DECLARE allows no other statement in front of it. Outside a transaction, the
        result is computed in full while the cursor is declared, so the scope can be reset
        afterwards.
        """
        autocommit = self.connection.autocommit
        with self.connection.cursor(cursor_factory=psycopg2.extensions.cursor) as plain:
            plain.execute(f"SET {'' if autocommit else 'LOCAL '}{SETTING} = '{scope}'")
            try:
                super().execute(query, vars)
            finally:
                if autocommit:
                    plain.execute(f"RESET {SETTING}")


@cache
def _timeouts() -> str:
    """Return statements that set the timeouts, for a pooler that passes on no session state."""
    if settings.PREPARED_STATEMENTS:
        return ""  # set when the connection was opened
    parameters = settings.DATABASE_TIMEOUTS.as_parameters().items()
    return "".join(f"SET LOCAL {name} = {value}; " for name, value in parameters)


class ErrorWrapper(DatabaseErrorWrapper):
    """Convert errors of psycopg2 to Django's. Give up a connection that cannot write."""

    wrapper: "DatabaseWrapper"

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if exc_value is not None and sqlstate(exc_value) == READ_ONLY:
            # A session may stay read-only after the database has become writable again.
            self.wrapper.close_at = 0.0
        super().__exit__(exc_type, exc_value, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    """Database wrapper with scoped cursors and fewer health checks.

    Django sends `SELECT 1` on a persistent connection at the start of every request. These
    checks were a third of all statements on the hot path. The check is skipped if the
    connection was checked or used less than a second ago. If the connection breaks within
    that second, the request fails, and the next request gets a new connection.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._checked_at = 0.0

    @cached_property
    def wrap_database_errors(self) -> ErrorWrapper:
        return ErrorWrapper(self)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        return super().get_new_connection({**conn_params, "cursor_factory": ScopedCursor})

    def close_if_health_check_failed(self) -> None:
        now = time.monotonic()
        if now - self._checked_at <= HEALTHY_FOR:
            # Without this, Django would check again when a slow transaction ends. The
            # check would begin a transaction, so that restoring autocommit would fail.
            self.health_check_done = True
        super().close_if_health_check_failed()
        self._checked_at = now

    def close_if_unusable_or_obsolete(self) -> None:
        if self.errors_occurred:
            self._checked_at = 0.0
        super().close_if_unusable_or_obsolete()
