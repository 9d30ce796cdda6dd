"""Tell errors of an unavailable database from errors of a statement.

The SQLSTATE codes are in Appendix A of the PostgreSQL documentation.
"""

import psycopg2
from django.db import DatabaseError, Error, InterfaceError, OperationalError

# Connection lost; no disk space, memory or connection left; statement cancelled, server
# shutting down or starting; input or output error.
UNAVAILABLE_CLASSES = ("08", "53", "57", "58")
READ_ONLY = "25006"
CANCELLED = "57014"
# Read-only; idle transaction ended; lock timeout; serialization failure; deadlock.
UNAVAILABLE_STATES = {READ_ONLY, "25P03", "55P03", "40001", "40P01"}


def sqlstate(error: BaseException | None) -> str:
    """Return the five-character SQLSTATE of an error of Django or psycopg2, or "" if none."""
    if not isinstance(error, psycopg2.Error):
        error = getattr(error, "__cause__", None)
    return getattr(error, "pgcode", None) or ""


def is_cancelled(error: BaseException | None) -> bool:
    """Return True if a statement was cancelled, usually because of its time limit."""
    return sqlstate(error) == CANCELLED


def is_unavailable(error: BaseException | None) -> bool:
    """Return True if the same request may succeed later, when the database is available again.

    An error without a SQLSTATE comes from the client library: no connection, or a lost one.
    """
    if not isinstance(error, Error):
        return False
    if state := sqlstate(error):
        return state in UNAVAILABLE_STATES or state.startswith(UNAVAILABLE_CLASSES)
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return type(error) is DatabaseError and isinstance(error.__cause__, psycopg2.Error)
