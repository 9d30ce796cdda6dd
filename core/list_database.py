"""The database that lists and charts are read from: the primary, or a streaming replica."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import DEFAULT_DB_ALIAS

_choose: ContextVar[Callable[[], str] | None] = ContextVar("choose list database", default=None)


def list_database() -> str:
    """Return the alias of the database to read a list or a chart of the current request from.

    Outside of a request it is the primary. Rows that are going to be changed are read from there.
    """
    choose = _choose.get()
    return DEFAULT_DB_ALIAS if choose is None else choose()


@contextmanager
def chosen_by(choose: Callable[[], str]) -> Iterator[None]:
    """Let a function choose the database of lists in the `with` block."""
    token = _choose.set(choose)
    try:
        yield
    finally:
        _choose.reset(token)
