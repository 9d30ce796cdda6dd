"""Write rows as CSV that spreadsheets open without running anything."""

import csv
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.db.models import Model, QuerySet

from core.errors import TakesTooLong
from core.statement_limit import statement_limit

logger = logging.getLogger(__name__)
M = TypeVar("M", bound=Model)

# With these a cell becomes a formula, in one program or another.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")
ROWS_PER_CHUNK = 1000
MAX_SECONDS = 10.0  # for the statement of a chunk
INCOMPLETE = "This export is incomplete. Try again."
BYTE_ORDER_MARK = "\ufeff"  # tells Excel that the file is UTF-8


def protect(value: str) -> str:
    """Return a value as text that no spreadsheet runs as a formula."""
    return f"'{value}" if value.startswith(FORMULA_STARTS) else value


def as_text(value: object) -> str:
    """Return a value as the text of a cell: None is blank, a time is in ISO 8601."""
    if value is None:
        return ""
    isoformat = getattr(value, "isoformat", None)
    return str(value) if isoformat is None else str(isoformat())


def csv_lines(
    header: Sequence[str],
    rows: QuerySet[M],
    cells: Callable[[M], Sequence[str]],
    *,
    key: str = "pk",
) -> Iterator[str]:
    """Yield CSV (RFC 4180), many rows at a time, in the order of `key`.

    Each chunk is one query of its own, in the scope of the caller of this function. So an
    export holds no transaction, and may be continued by another thread.

    The first chunk is read at once. If a later one fails, the last line says that the export is
    incomplete, because the response has begun.

    Args:
        key: a unique, indexed field.

    Raises:
        TakesTooLong: reading the first chunk takes too long.
    """
    context = copy_context()
    page = rows.order_by(key)

    def read(after: Any) -> list[M]:
        if not connection.in_atomic_block:  # a thread that continues may have had it for long
            close_old_connections()
        rest = page if after is None else page.filter(**{f"{key}__gt": after})
        with statement_limit(MAX_SECONDS):
            return list(rest[:ROWS_PER_CHUNK])

    def text(chunk: list[M]) -> str:
        return _lines([cells(row) for row in chunk])

    def lines(chunk: list[M]) -> Iterator[str]:
        yield BYTE_ORDER_MARK + _lines([header])
        try:
            while chunk:
                yield context.run(text, chunk)
                is_last = len(chunk) < ROWS_PER_CHUNK
                chunk = [] if is_last else context.run(read, getattr(chunk[-1], key))
        except (DatabaseError, InterfaceError, TakesTooLong):
            logger.exception("An export has failed")
            yield _lines([[INCOMPLETE]])

    return lines(read(None))


def _lines(rows: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\r\n").writerows([map(protect, row) for row in rows])
    return stream.getvalue()
