"""Write the first sheet of a spreadsheet as CSV. `reading.from_workbook` runs this file.

It is a process of its own, because a small file may describe a sheet that fits into no memory,
and the library would then end the process. The limits below end this one instead.
"""

import csv
import io
import resource
import sys
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook

MAX_MEMORY = 700_000_000  # bytes of address space
MAX_SECONDS = 20  # of CPU time
MAX_CSV = 32_000_000  # bytes
MAX_EXACT = 10**15  # a spreadsheet rounds larger numbers
UNREADABLE, EMPTY, TOO_LARGE = 3, 4, 5  # exit status


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        rows = _rows(sys.stdin.buffer.read())
    except (CalamineError, OSError, ValueError):
        sys.exit(UNREADABLE)
    output = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="", write_through=True)
    writer, size = csv.writer(output), 0
    for cells in rows:
        size += sum(map(len, cells)) + len(cells)
        if size > MAX_CSV:
            sys.exit(TOO_LARGE)
        writer.writerow(cells)


def _rows(content: bytes) -> Iterator[list[str]]:
    """Return the rows of the first sheet that has any, with the empty rows above it."""
    workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
    for index in range(len(workbook.sheet_names)):
        sheet = workbook.get_sheet_by_index(index)
        if sheet.height:
            above, _ = sheet.start or (0, 0)
            return _with_rows_above(above, sheet)
    sys.exit(EMPTY)


def _with_rows_above(above: int, sheet: Any) -> Iterator[list[str]]:
    yield from ([] for _ in range(above))
    yield from ([_text(cell) for cell in cells] for cells in sheet.iter_rows())


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float | int):
        if abs(cell) >= MAX_EXACT:
            return f"{cell:.6E}"
        return str(int(cell)) if float(cell).is_integer() else str(cell)
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    return str(cell)


if __name__ == "__main__":
    main()
