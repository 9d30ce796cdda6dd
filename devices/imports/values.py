"""The values of a row: cleaned of what spreadsheets add, and checked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from core.spreadsheets import FORMULA_STARTS
from devices.imports.columns import FIELDS
from devices.imports.errors import InvalidRow
from devices.registry.device_report import DeviceReport
from devices.registry.exports import ATTRIBUTE
from devices.registry.services.tags import valid_names

LENGTHS = {"name": 120, "model": 64, "manufacturer": 64, "site": 120, "notes": 4000}  # characters
_FORMULA_TEXT = re.compile(r'="([^"]*)"')  # Excel's way to keep digits as text
_ROUNDED = re.compile(r"[+-]?\d+([.,]\d+)?E[+-]?\d{2,}|[+-]?\d+[.,]\d+E\d+", re.IGNORECASE)
_LIST = re.compile(r"[,;|\n]")
Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RowData:
    """The device of a row. None, or "", means that the row leaves a value as it is.

    Attributes:
        device_id: names a known device, as in an export.
    """

    report: DeviceReport
    device_id: UUID | None
    tags: Sequence[str] | None
    site: str
    notes: str
    attributes: Mapping[str, str]  # texts by key


def from_cells(cells: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    """Return the cleaned, non-blank values of a row by field.

    Raises:
        InvalidRow: there are more values than columns, so some are in the wrong column.
    """
    if any(cell.strip() for cell in cells[len(fields) :]):
        raise InvalidRow(
            f"The row has {len(cells)} cells, and the header has {len(fields)}. A value that"
            " contains the separator has to be in quotation marks."
        )
    values: dict[str, str] = {}
    for field, cell in zip(fields, cells, strict=False):
        if field and (value := clean(cell)):
            values[field] = f"{values[field]}, {value}" if field in values else value
    return values


def clean(cell: str) -> str:
    """Return the text of a cell in one line, without the marks that make digits or formulas text."""
    text = " ".join(cell.split())
    text = "".join(character for character in text if character.isprintable())
    if match := _FORMULA_TEXT.fullmatch(text):
        text = match[1]
    is_marked = text.startswith("'") and (
        text[1:2].isdigit() or text[1:].startswith(FORMULA_STARTS)
    )
    return text[1:].strip() if is_marked else text


def row_data(values: Values) -> RowData:
    """Return the device of a row.

    Raises:
        InvalidRow, InvalidTag: a value cannot be used. `field` is the field at fault.
    """
    for field in ("serial_number", "android_id", "mac_addresses"):
        if _ROUNDED.fullmatch(values.get(field, "")):
            raise InvalidRow(
                f"{FIELDS[field]} {values[field]} looks like a number that a spreadsheet has"
                " rounded. Format the column as text, and enter the value again.",
                field=field,
            )
    for field, most in LENGTHS.items():
        if len(values.get(field, "")) > most:
            raise InvalidRow(f"{FIELDS[field]} has more than {most} characters.", field=field)
    report = DeviceReport(
        serial_number=values.get("serial_number", ""),
        android_id=values.get("android_id", ""),
        mac_addresses=tuple(_items(values.get("mac_addresses", ""))),
        manufacturer=values.get("manufacturer", ""),
        model=values.get("model", ""),
        name=values.get("name", ""),
    )
    tags = valid_names(_items(values["tags"])) if "tags" in values else None
    return RowData(
        report,
        _device_id(values.get("id", "")),
        tags,
        values.get("site", ""),
        values.get("notes", ""),
        {
            field.removeprefix(ATTRIBUTE): value
            for field, value in values.items()
            if field.startswith(ATTRIBUTE)
        },
    )


def _items(text: str) -> list[str]:
    return [item.strip() for item in _LIST.split(text) if item.strip()]


def _device_id(text: str) -> UUID | None:
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRow("The device id is not a UUID.", field="id") from None
