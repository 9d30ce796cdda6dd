"""Limit how long the statements of a part of a request may take."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import OperationalError

from core.database_errors import is_cancelled
from core.errors import TakesTooLong

_milliseconds: ContextVar[int | None] = ContextVar("statement limit", default=None)


def milliseconds() -> int | None:
    """Return the limit of the next statement; None for the limit of the process."""
    return _milliseconds.get()


@contextmanager
def statement_limit(seconds: float, sentence: str = "") -> Iterator[None]:
    """Let PostgreSQL cancel each statement of the `with` block that takes longer.

    The database backend sends the limit with the statement, so it costs no round trip.

    Args:
        sentence: message of the error, for people.

    Raises:
        TakesTooLong: a statement was cancelled.
    """
    token = _milliseconds.set(round(seconds * 1000))
    try:
        yield
    except OperationalError as error:
        if not is_cancelled(error):
            raise
        raise TakesTooLong(sentence) from error
    finally:
        _milliseconds.reset(token)
