"""Check and import the rows of files, in slices that can be interrupted at any time.

Each transaction stores a batch of rows together with the position up to which the work is done.
If a process is killed, another one continues there, and no row is imported twice.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from django.db import connection, transaction

from core.errors import DomainError
from devices.imports import reading
from devices.imports.errors import NoSuchImport, UnreadableFile
from devices.imports.models import DeviceImport, ImportRow
from devices.imports.reading import Format, Row
from devices.imports.services import imports, rows
from devices.imports.services.repeats import Repeats
from devices.imports.values import from_cells, row_data
from devices.registry.services.attributes import definitions_kept
from tenants.context import SYSTEM, Caller, caller_scope, tenant_scope
from tenants.fairness import random_tenant_first

CHECKED_TOGETHER = 200  # rows per transaction
IMPORTED_TOGETHER = 50  # rows per transaction; their devices are locked until it ends

State = DeviceImport.State
Outcome = ImportRow.Outcome
TimeIsUp = Callable[[], bool]


def any_unfinished() -> bool:
    """Return True if an import of any tenant has to be continued."""
    return DeviceImport.every_tenant.unfinished().exists()


def next_slice(*, now: Callable[[], datetime], time_is_up: TimeIsUp) -> bool:
    """Continue one unfinished import of a random tenant until it ends or the time is up.

    Only one process may call this at a time.

    Returns:
        False if no import has to be continued.
    """
    waiting = DeviceImport.every_tenant.unfinished().order_by(random_tenant_first(), "worked_at")
    device_import = waiting.select_related("requested_by").first()
    if device_import is None:
        return False
    member = device_import.requested_by
    caller = Caller(kind="member", id=str(member.pk), name=member.email) if member else SYSTEM
    with tenant_scope(device_import.tenant_id), caller_scope(caller):
        work_on(device_import, now=now, time_is_up=time_is_up)
    return True


def work_on(
    device_import: DeviceImport, *, now: Callable[[], datetime], time_is_up: TimeIsUp
) -> None:
    """Check or import the rows of one import until it has to wait, ends, or the time is up."""
    if device_import.state == State.CHECKING:
        _check(device_import, now, time_is_up)
    elif device_import.state == State.RUNNING:
        while not time_is_up() and _import_batch(device_import, now()):
            pass


def _check(device_import: DeviceImport, now: Callable[[], datetime], time_is_up: TimeIsUp) -> None:
    """Store the next rows of the file, each with what an import would do with it."""
    fields = [column["field"] for column in device_import.columns]
    repeats = Repeats(device_import)
    try:
        unread = _rows_after(device_import)
        while not time_is_up():
            batch = list(islice(unread, CHECKED_TOGETHER))
            with transaction.atomic():
                row = _locked(device_import, State.CHECKING)
                if row is None:
                    return
                if not batch:
                    row.state, row.position, row.worked_at = State.CHECKED, 0, now()
                    row.save(update_fields=["state", "position", "worked_at"])
                    return
                with definitions_kept():
                    checked = [
                        _checked(row, number, cells, fields, repeats) for number, cells in batch
                    ]
                ImportRow.objects.bulk_create(checked)
                row.position, row.worked_at = batch[-1][0], now()
                row.rows_checked += len(batch)
                row.save(update_fields=["position", "rows_checked", "worked_at"])
            repeats.note_stored()
    except NoSuchImport:
        return  # it was cancelled a moment ago
    except UnreadableFile as error:
        with transaction.atomic():
            if (row := _locked(device_import, State.CHECKING)) is not None:
                imports.fail(row, error, now())


def _rows_after(device_import: DeviceImport) -> Iterator[Row]:
    """Yield the rows that were not checked yet, without the header."""
    content = imports.content_of(device_import)
    format = Format(device_import.encoding, device_import.separator)
    unread = islice(reading.read_rows(content, format), 1, None)
    return ((number, cells) for number, cells in unread if number > device_import.position)


def _checked(
    device_import: DeviceImport,
    number: int,
    cells: Sequence[str],
    fields: Sequence[str],
    repeats: Repeats,
) -> ImportRow:
    """Return the unsaved row with what an import would do with it."""
    row = ImportRow(device_import=device_import, number=number, values={})
    try:
        row.values = from_cells(cells, fields)
        data = row_data(row.values)
        planned = rows.plan(data, creates_sites=device_import.creates_sites)
        row.device, row.outcome, row.detail = planned.device, planned.outcome, planned.detail
        device_id = planned.device.pk if planned.device else None
        if (first := repeats.same_device(number, data, device_id)) is not None:
            row.outcome = Outcome.REPEATED
            row.detail = f"The same device as row {first}. The first of its rows is imported."
    except DomainError as error:
        row.outcome, row.detail = Outcome.REFUSED, str(error)
    row.detail = row.detail[:1000]
    return row


def _import_batch(device_import: DeviceImport, now: datetime) -> bool:
    """Import the next rows. Return False if there is nothing left to do."""
    with transaction.atomic():
        locked = _locked(device_import, State.RUNNING)
        if locked is None:
            return False
        waiting = imports.rows_of(locked).filter(outcome__in=ImportRow.APPLIED)
        batch = list(waiting.filter(number__gt=locked.position)[:IMPORTED_TOGETHER])
        if not batch:
            imports.finish(locked, State.FINISHED, now)
            return False
        with definitions_kept():
            for row in batch:
                _import_row(row, creates_sites=locked.creates_sites, now=now)
        _store(batch)
        locked.position, locked.worked_at = batch[-1].number, now
        locked.rows_imported += len(batch)
        locked.save(update_fields=["position", "rows_imported", "worked_at"])
        return True


def _store(batch: Sequence[ImportRow]) -> None:
    """Store what was done with rows, with one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE imports_importrow AS row SET outcome = new.outcome, detail = new.detail,
                device_id = new.device_id, is_imported = new.is_imported
            FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::uuid[], %s::bool[])
                AS new (id, outcome, detail, device_id, is_imported)
            WHERE row.id = new.id
            """,
            [
                [row.pk for row in batch],
                [str(row.outcome) for row in batch],
                [row.detail for row in batch],
                [str(row.device_id) if row.device_id else None for row in batch],
                [row.is_imported for row in batch],
            ],
        )


def _import_row(row: ImportRow, *, creates_sites: bool, now: datetime) -> None:
    """Import a row as the devices are now. A row that is refused stops no other."""
    try:
        with transaction.atomic():
            data = row_data(row.values)
            planned, row.device = rows.apply(data, creates_sites=creates_sites, now=now)
        row.outcome, row.detail = planned.outcome, planned.detail[:1000]
        row.is_imported = True
    except DomainError as error:
        row.outcome, row.detail = Outcome.REFUSED, str(error)[:1000]


def _locked(device_import: DeviceImport, state: str) -> DeviceImport | None:
    """Lock the row of an import, if it is still in this state."""
    locked = DeviceImport.objects.select_for_update().filter(pk=device_import.pk, state=state)
    return locked.first()
