"""Advisory locks of PostgreSQL, for work that only one process may do at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection


@contextmanager
def try_session_lock(number: int) -> Iterator[bool]:
    """Try to take a session-level lock for the `with` block. Yield whether the lock was free.

    The lock belongs to the connection, so PostgreSQL releases it if the process dies.

    Args:
        number: identifies the lock in the database.
    """
    if not settings.PREPARED_STATEMENTS:
        with _lock_of_other_connection(number) as acquired:
            yield acquired
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        acquired = bool(cursor.fetchone()[0])
    try:
        yield acquired
    finally:
        if acquired:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])


@contextmanager
def _lock_of_other_connection(number: int) -> Iterator[bool]:
    """Take the lock in a transaction of a second connection.

    A pooler that assigns a connection per transaction has no sessions that could keep a lock.
    """
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
            acquired = bool(cursor.fetchone()[0])
        yield acquired
    finally:
        holder.close()


def transaction_lock(subject: str) -> None:
    """Wait for the lock named `subject` and keep it until the transaction ends.

    Use it for a change that takes several statements and has no row to lock.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [subject])


def try_transaction_lock(subject: str) -> bool:
    """Try to take the lock of `transaction_lock` at once. Return whether the lock was free."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [subject])
        return bool(cursor.fetchone()[0])
