"""Create, describe, start and cancel imports. A worker does the rest, see `work`."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, QuerySet

from core.querysets import first_or_raise
from core.tasks import enqueue_on_commit
from devices.imports import columns, reading
from devices.imports.errors import (
    EncodingUnknown,
    ImportStateConflict,
    InvalidColumns,
    NoSuchImport,
    TooManyImports,
    UnreadableFile,
)
from devices.imports.events import ImportCancelled, ImportFinished, ImportStarted
from devices.imports.models import DeviceImport, ImportFile, ImportRow
from devices.imports.reading import Format
from devices.imports.values import clean
from events.services.outbox import record
from tenants.models import User

MAX_FILES = 20  # of one tenant
EXAMPLES = 3  # values shown of each column
ROWS_KEPT = timedelta(days=30)  # after the end of an import
IMPORTS_PER_RUN = 50  # of which old rows are deleted
TASK = "devices.imports.tasks.run_imports"

State = DeviceImport.State


@transaction.atomic
def create(*, by: User | None, now: datetime) -> DeviceImport:
    """Create an import, which waits for its file."""
    return DeviceImport.objects.create(requested_by=by, requested_at=now, worked_at=now)


@transaction.atomic
def receive(
    *, device_import: DeviceImport, file_name: str, content: bytes, now: datetime
) -> DeviceImport:
    """Store the file of an import, and guess its encoding, its separator and its columns.

    Raises:
        UnreadableFile, ImportFileTooLarge: see `reading.detect`. Nothing is stored.
        ImportStateConflict: the rows of the import are checked already.
        TooManyImports: the tenant has `MAX_FILES` other files of open imports.
    """
    row = _locked(device_import, State.EMPTY, State.COLUMNS)
    if ImportFile.objects.exclude(device_import=row).count() >= MAX_FILES:
        raise TooManyImports
    row.file_name, row.size = file_name[:200], len(content)
    row.state, row.fault, row.worked_at = State.COLUMNS, "", now
    try:
        if reading.is_workbook(content):
            content = reading.from_workbook(content)
            _describe(row, content, Format(reading.WORKBOOK, ","))
        else:
            _describe(row, content, reading.detect(content))
    except EncodingUnknown as error:
        row.encoding, row.separator, row.columns, row.fault = "", "", [], str(error)
    row.save()
    ImportFile.objects.update_or_create(device_import=row, defaults={"content": content})
    return row


@transaction.atomic
def change_encoding(*, device_import: DeviceImport, encoding: str) -> DeviceImport:
    """Read the header again, in an encoding that a member has chosen.

    Args:
        encoding: a key of `reading.ENCODINGS`.

    Raises:
        UnreadableFile: the file is not in this encoding.
        ImportStateConflict: the import does not wait for its columns.
    """
    row = _locked(device_import, State.COLUMNS)
    content = content_of(row)
    _describe(row, content, reading.detect(content, encoding=encoding))
    row.fault = ""
    row.save()
    return row


@transaction.atomic
def check(
    *,
    device_import: DeviceImport,
    fields: Sequence[str] | None = None,
    creates_sites: bool = False,
    now: datetime,
) -> DeviceImport:
    """Let a worker check all rows with these columns.

    Args:
        fields: the field of each column, see `columns.of_tenant`; "" for a column that is not
            imported. None keeps those that were guessed.
        creates_sites: whether sites that do not exist are created.

    Raises:
        InvalidColumns: a field is unknown or repeated, or nothing identifies the devices.
        ImportStateConflict: the import does not wait for its columns, or for its start.
    """
    row = _locked(device_import, State.COLUMNS, State.CHECKED)
    if fields is None:
        fields = [column["field"] for column in row.columns]
    if len(fields) != len(row.columns) or not set(fields) <= {"", *columns.of_tenant()}:
        raise InvalidColumns("Choose a field for each column.")
    if fault := row.fault or columns.fault(fields):
        raise InvalidColumns(fault)
    for column, field in zip(row.columns, fields, strict=True):
        column["field"] = field
    row.rows.all().delete()
    row.creates_sites, row.state, row.worked_at = creates_sites, State.CHECKING, now
    row.position = row.rows_checked = row.rows_imported = 0
    row.save()
    enqueue_on_commit(TASK)
    return row


@transaction.atomic
def start(*, device_import: DeviceImport, now: datetime) -> DeviceImport:
    """Import all rows that the check has not refused.

    Raises:
        ImportStateConflict: the rows are not checked, or the import was started already.
    """
    row = _locked(device_import, State.CHECKED)
    row.state, row.position, row.worked_at = State.RUNNING, 0, now
    row.save(update_fields=["state", "position", "worked_at"])
    record([ImportStarted(**_event_fields(row, now))])
    enqueue_on_commit(TASK)
    return row


@transaction.atomic
def cancel(*, device_import: DeviceImport, now: datetime) -> DeviceImport:
    """Cancel an import. Rows that were imported already stay.

    Raises:
        ImportStateConflict: the import has ended.
    """
    row = _locked(device_import, *DeviceImport.OPEN)
    was_running = row.state == State.RUNNING
    finish(row, State.CANCELLED, now)
    if was_running:
        record([ImportCancelled(**_event_fields(row, now))])
    return row


def finish(row: DeviceImport, state: str, now: datetime) -> None:
    """End a locked import. Its file is deleted; its rows are kept for the report."""
    row.state, row.ended_at = state, now
    row.save(update_fields=["state", "ended_at", "fault"])
    ImportFile.objects.filter(device_import=row).delete()
    if state == State.FINISHED:
        counts: dict[str, Any] = outcomes(row)
        record([ImportFinished(**_event_fields(row, now), **counts)])


def fail(row: DeviceImport, error: UnreadableFile, now: datetime) -> None:
    """End a locked import whose file cannot be read to its end."""
    row.fault = str(error)[:500]
    finish(row, State.FAILED, now)


def outcomes(device_import: DeviceImport) -> dict[str, int]:
    """Return the number of rows of each outcome."""
    counted = device_import.rows.order_by().values_list("outcome").annotate(Count("pk"))
    return dict.fromkeys(ImportRow.Outcome.values, 0) | dict(counted)


def rows_of(device_import: DeviceImport, outcome: str = "") -> QuerySet[ImportRow]:
    """Return the rows of an import in their order."""
    rows = ImportRow.objects.filter(device_import=device_import).order_by("number")
    return rows.filter(outcome=outcome) if outcome else rows


def content_of(row: DeviceImport) -> bytes:
    """Return the file of an import.

    Raises:
        NoSuchImport: the file was deleted.
    """
    return bytes(first_or_raise(ImportFile.objects.filter(device_import=row), NoSuchImport).content)


def delete_old(*, now: datetime) -> int:
    """Delete the rows and files of imports that ended, or were left, long ago.

    Returns:
        the number of deleted rows.
    """
    old = DeviceImport.every_tenant.filter(worked_at__lt=now - ROWS_KEPT)
    waiting = old.filter(state__in=(State.EMPTY, State.COLUMNS, State.CHECKED))
    ids = list(waiting.values_list("pk", flat=True)[:1000])
    ImportFile.every_tenant.filter(device_import__in=ids).delete()
    waiting.filter(pk__in=ids).update(state=State.CANCELLED, ended_at=now)
    has_rows = Exists(ImportRow.every_tenant.filter(device_import=OuterRef("pk")))
    ended = old.exclude(state__in=DeviceImport.OPEN).filter(has_rows).values_list("pk", flat=True)
    rows = ImportRow.every_tenant.filter(device_import__in=list(ended[:IMPORTS_PER_RUN]))
    return int(rows.delete()[0])


def _describe(row: DeviceImport, content: bytes, format: Format) -> None:
    """Store how the file is read, with its header and examples of its values."""
    first = list(islice(reading.read_rows(content, format), 1 + EXAMPLES))
    if not first:
        raise UnreadableFile("The file is empty.")
    header, *examples = [cells for _, cells in first]
    while header and not header[-1].strip():
        header.pop()
    if len(header) > reading.MAX_COLUMNS:
        raise UnreadableFile(f"The file has more than {reading.MAX_COLUMNS} columns.")
    fields = columns.guess(header, columns.of_tenant())
    row.encoding, row.separator = format.encoding, format.separator
    row.columns = [
        {"header": clean(text)[:100], "field": field, "examples": _values(examples, place)}
        for place, (text, field) in enumerate(zip(header, fields, strict=True))
    ]


def _values(rows: Sequence[Sequence[str]], place: int) -> list[str]:
    """Return the values of a column that are not blank, shortened."""
    values = (clean(cells[place]) for cells in rows if place < len(cells))
    return [value[:60] for value in values if value]


def _locked(device_import: DeviceImport, *states: str) -> DeviceImport:
    """Lock the row of an import that is in one of these states."""
    rows = DeviceImport.objects.select_for_update().filter(pk=device_import.pk)
    row = first_or_raise(rows, NoSuchImport)
    if row.state not in states:
        raise ImportStateConflict(f"The import is {row.get_state_display()}.")
    return row


def _event_fields(row: DeviceImport, now: datetime) -> Mapping[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "at": now,
        "import_id": str(row.pk),
        "file_name": row.file_name,
    }
