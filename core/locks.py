"""What one process of all should do at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def alone(number: int) -> Iterator[bool]:
    """Whether nobody else does it now; if so, nobody else begins until this has ended.

    PostgreSQL holds the lock for the connection, so it is free when the process dies.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        mine = bool(cursor.fetchone()[0])
    try:
        yield mine
    finally:
        if mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])


def in_turn(subject: str) -> None:
    """Wait until whoever said the same has committed; then others wait for us.

    For what is read and written by several statements and has no row to hold.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [subject]
        )


def in_turn_if_free(subject: str) -> bool:
    """The same without waiting: whether it is our turn."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [subject]
        )
        return bool(cursor.fetchone()[0])
