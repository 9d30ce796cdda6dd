"""Write rows as CSV and XLSX that spreadsheets open without running anything."""

import csv
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from typing import IO, Any, TypeVar

import xlsxwriter
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.db.models import Model, QuerySet

from core.errors import Invalid, TakesTooLong
from core.statement_limit import statement_limit

logger = logging.getLogger(__name__)
M = TypeVar("M", bound=Model)

# With these a cell becomes a formula, in one program or another.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")
ROWS_PER_CHUNK = 1000
MAX_WORKBOOK_ROWS = 100_000  # it takes about ten seconds
MAX_CELL = 32_767  # characters, the limit of Excel
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

    def read(after: Any) -> list[M]:
        return _chunk(rows, key, after)

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


class TooManyRows(Invalid):
    code = "too_many_rows"


def workbook(
    header: Sequence[str],
    rows: QuerySet[M],
    cells: Callable[[M], Sequence[str]],
    *,
    key: str = "pk",
) -> IO[bytes]:
    """Return an XLSX file with one sheet, whose cells are texts. Its rows are not kept in memory.

    Args:
        key: a unique, indexed field.

    Raises:
        TooManyRows: there are more than `MAX_WORKBOOK_ROWS`.
        TakesTooLong: reading a chunk takes too long.
    """
    if len(rows.order_by().values_list("pk", flat=True)[: MAX_WORKBOOK_ROWS + 1]) > (
        MAX_WORKBOOK_ROWS
    ):
        sentence = f"A workbook has at most {MAX_WORKBOOK_ROWS:,} rows. Export as CSV instead."
        raise TooManyRows(sentence)
    file = tempfile.TemporaryFile()  # noqa: SIM115 # the response closes it
    try:
        _write_book(file, header, rows, cells, key)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _write_book(
    file: IO[bytes],
    header: Sequence[str],
    rows: QuerySet[M],
    cells: Callable[[M], Sequence[str]],
    key: str,
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # in which xlsxwriter keeps the rows
        book = xlsxwriter.Workbook(file, {"constant_memory": True, "tmpdir": folder})
        sheet = book.add_worksheet()
        sheet.freeze_panes(1, 0)
        _write(sheet, 0, header)
        written, after = 0, None
        while chunk := _chunk(rows, key, after):
            for number, row in enumerate(chunk, start=written + 1):
                _write(sheet, number, cells(row))
            written, after = written + len(chunk), getattr(chunk[-1], key)
            if written >= MAX_WORKBOOK_ROWS:
                break
        book.close()


def _write(sheet: Any, number: int, values: Sequence[str]) -> None:
    for place, value in enumerate(values):
        sheet.write_string(number, place, value[:MAX_CELL])


def _chunk(rows: QuerySet[M], key: str, after: Any) -> list[M]:
    if not connection.in_atomic_block:  # a thread that continues may have had it for long
        close_old_connections()
    page = rows.order_by(key)
    rest = page if after is None else page.filter(**{f"{key}__gt": after})
    with statement_limit(MAX_SECONDS):
        return list(rest[:ROWS_PER_CHUNK])


def _lines(rows: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\r\n").writerows([map(protect, row) for row in rows])
    return stream.getvalue()
