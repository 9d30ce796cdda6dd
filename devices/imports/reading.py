"""Read tables from files as Excel, LibreOffice, Numbers and text editors write them.

Encoding and separator of a text are found from the content. A spreadsheet is converted to CSV.
"""

import csv
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from devices.imports import columns, workbook
from devices.imports.errors import EncodingUnknown, ImportFileTooLarge, UnreadableFile

MAX_BYTES = 16_000_000
MAX_ROWS = 100_000  # without the header
MAX_COLUMNS = 100
MAX_CONVERSION = 60.0  # seconds
SEPARATORS = ",;\t|"
SAMPLE_ROWS = 20
ENCODINGS = {
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16",
    "cp1252": "Western European (Windows-1252)",
    "cp1250": "Central European (Windows-1250)",
    "cp1251": "Cyrillic (Windows-1251)",
    "cp1253": "Greek (Windows-1253)",
    "cp1254": "Turkish (Windows-1254)",
    "cp1255": "Hebrew (Windows-1255)",
    "cp1256": "Arabic (Windows-1256)",
    "mac_roman": "Western European (Mac)",
    "shift_jis": "Japanese (Shift JIS)",
    "gb18030": "Chinese (GB 18030)",
}
WORKBOOK = "workbook"  # in place of an encoding
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_SEPARATOR_LINE = re.compile(r"\s*sep=(.?)\s*", re.IGNORECASE)
_USABLE = re.compile(r'[^\w\s\x00-\x1f"]|\t')
_TOO_LARGE = "The first sheet of the file is too large. Save its rows and columns as CSV UTF-8."
_WORDS = re.compile(rb"[\x80-\xff]{3,}")

Row = tuple[int, list[str]]  # the number as a spreadsheet shows it, and the cells


@dataclass(frozen=True, slots=True)
class Format:
    """How a file is read.

    Attributes:
        encoding: a key of `ENCODINGS`, or `WORKBOOK` for the CSV of a spreadsheet.
        separator: of the columns.
    """

    encoding: str
    separator: str


def is_workbook(content: bytes) -> bool:
    """Return whether a file is a spreadsheet, or another archive."""
    return content.startswith((_ZIP, _OLE))


def from_workbook(content: bytes) -> bytes:
    """Return the first sheet of a spreadsheet as CSV in UTF-8, to be read with `WORKBOOK`.

    Raises:
        UnreadableFile: the file is empty, damaged, or no spreadsheet.
        ImportFileTooLarge: the sheet is too large for `workbook.MAX_CSV` or `MAX_MEMORY`.
    """
    _check_size(content)
    command = [sys.executable, "-I", str(Path(workbook.__file__))]
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, timeout=MAX_CONVERSION, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ImportFileTooLarge(_TOO_LARGE) from error
    if done.returncode == workbook.UNREADABLE:
        raise UnreadableFile("The spreadsheet cannot be read. Save it as XLSX, ODS or CSV UTF-8.")
    if done.returncode == workbook.EMPTY:
        raise UnreadableFile("The spreadsheet is empty.")
    if done.returncode:  # also if a limit has ended the process
        raise ImportFileTooLarge(_TOO_LARGE)
    return done.stdout


def detect(content: bytes, *, encoding: str = "") -> Format:
    """Find out how to read a text.

    Args:
        encoding: a key of `ENCODINGS`; "" if it has to be found out.

    Raises:
        EncodingUnknown: the text is not UTF-8, and several encodings are possible.
        UnreadableFile: the file is empty or no table, or not in the encoding.
        ImportFileTooLarge: see `MAX_BYTES`.
    """
    _check_size(content)
    if not content.strip(b" \t\r\n\x00"):
        raise UnreadableFile("The file is empty.")
    encoding = encoding or _encoding_of(content)
    if encoding not in ENCODINGS:
        raise UnreadableFile("This encoding is not known.")
    return Format(encoding, _separator_of(_decode(content, encoding)))


def read_rows(content: bytes, format: Format) -> Iterator[Row]:
    """Yield the rows of a file, the header first. Empty rows are passed over.

    Raises:
        UnreadableFile: the file cannot be read to its end, or has too many rows or columns.
    """
    encoding = "utf-8" if format.encoding == WORKBOOK else format.encoding
    count = 0
    for number, cells in _text_rows(_decode(content, encoding), format.separator):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > MAX_COLUMNS and any(cells[MAX_COLUMNS:]):
            raise UnreadableFile(f"Row {number} has more than {MAX_COLUMNS} columns.")
        if count > MAX_ROWS:
            raise UnreadableFile(
                f"The file has more than {MAX_ROWS:,} rows. Divide it into several files."
            )
        count += 1
        yield number, cells


def _check_size(content: bytes) -> None:
    if len(content) > MAX_BYTES:
        raise ImportFileTooLarge(f"The file has more than {MAX_BYTES // 1_000_000} MB.")


def _encoding_of(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # In Western European texts, letters outside ASCII stand alone between others. In texts
        # of other alphabets they form words.
        if _WORDS.search(content) or b"\x00" in content:
            raise EncodingUnknown from None
        return "cp1252"
    return "utf-8-sig"


def _decode(content: bytes, encoding: str) -> str:
    try:
        text = content.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise UnreadableFile(f"The file is not in the encoding {ENCODINGS[encoding]}.") from error
    return text.removeprefix("\ufeff")


def _separator_of(text: str) -> str:
    """Return the separator that the file names, or else that with which its header makes sense."""
    first, _, _ = text.lstrip("\r\n").partition("\n")
    named = _SEPARATOR_LINE.fullmatch(first.partition("\r")[0])
    if named and _USABLE.fullmatch(named[1]):
        return named[1]

    def quality(separator: str) -> tuple[int, int]:
        rows = list(islice(_text_rows(text[:100_000], separator), SAMPLE_ROWS))
        header = next((cells for _, cells in rows if any(cells)), [])
        recognised = sum(bool(field) for field in columns.guess(header))
        return recognised, len(header)

    return max(SEPARATORS, key=quality)


def _text_rows(text: str, separator: str) -> Iterator[Row]:
    stream = io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"), newline="\n")
    reader = csv.reader(stream, delimiter=separator)
    number = 0
    try:
        for cells in reader:
            if number == 0 and _SEPARATOR_LINE.fullmatch(separator.join(cells)):
                continue
            number += 1
            yield number, cells
    except csv.Error as error:
        raise UnreadableFile(f"Row {number + 1} cannot be read: {error}.") from error
