"""Imports of devices: every row has an outcome, and nothing is imported twice."""

from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices.imports import reading, tasks
from devices.imports.errors import (
    EncodingUnknown,
    ImportFileTooLarge,
    ImportStateConflict,
    InvalidColumns,
    TooManyImports,
    UnreadableFile,
)
from devices.imports.models import DeviceImport, ImportFile, ImportRow
from devices.imports.services import imports, work
from devices.imports.tests import files
from devices.registry.models import Device, DeviceTag, Site
from devices.registry.services import retirement
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from devices.registry.tests.waiting import wait_until
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
State = DeviceImport.State
Outcome = ImportRow.Outcome


def received(content: bytes, now: datetime, name: str = "devices.csv") -> DeviceImport:
    row = imports.create(by=None, now=now)
    return imports.receive(device_import=row, file_name=name, content=content, now=now)


def worked(
    row: DeviceImport, now: datetime, *, time_is_up: Callable[[], bool] | None = None
) -> DeviceImport:
    work.work_on(row, now=lambda: now, time_is_up=time_is_up or (lambda: False))
    row.refresh_from_db()
    return row


def checked(content: bytes, now: datetime, **options: Any) -> DeviceImport:
    row = received(content, now)
    return worked(imports.check(device_import=row, now=now, **options), now)


def imported(content: bytes, now: datetime, **options: Any) -> DeviceImport:
    row = checked(content, now, **options)
    return worked(imports.start(device_import=row, now=now), now)


def outcomes(row: DeviceImport) -> dict[int, str]:
    return dict(imports.rows_of(row).values_list("number", "outcome"))


def details(row: DeviceImport) -> dict[int, str]:
    return dict(imports.rows_of(row).values_list("number", "detail"))


def names() -> list[str]:
    return sorted(Device.objects.values_list("name", flat=True))


class TestFilesOfTheField:
    @pytest.mark.parametrize(
        ("content", "first", "expected_names"),
        [
            (files.UTF8_WITH_MARK, {2: "new"}, ["Lobby"]),
            (files.GERMAN_EXCEL, {2: "new"}, ["Empfang; links"]),
            (files.UNICODE_TEXT, {2: "new"}, ["Панель №3"]),
            (files.WINDOWS_1252, {2: "new"}, ["München Süd – 2. OG"]),
            (files.EMPTY_COLUMNS, {2: "new", 5: "new"}, ["Shop", "Shop 2"]),
            (files.LINE_BREAKS, {2: "new", 3: "new"}, ["'quoted'", 'Room "A" second line']),
            (files.SEPARATOR_LINE, {2: "new"}, ["Shop"]),
            (files.HEADER_SPELLING, {2: "new"}, ["Shop"]),
            (files.CLASSIC_MAC, {2: "new"}, ["Shop"]),
            (
                files.FORMULAS,
                {2: "new", 3: "new", 4: "new", 5: "new"},
                ["-2+3", "5", '=HYPERLINK("http://x","y")', "@SUM(A1)"],
            ),
            (files.REPEATED, {2: "new", 3: "repeated", 4: "refused"}, ["One"]),
        ],
    )
    def test_a_file_is_imported_and_a_second_run_changes_nothing(
        self,
        acting: Tenant,
        now: datetime,
        content: bytes,
        first: dict[int, str],
        expected_names: list[str],
    ) -> None:
        row = imported(content, now)

        assert (row.state, outcomes(row)) == (State.FINISHED, first)
        assert names() == sorted(expected_names)

        events = Event.objects.exclude(name__startswith="import.").count()
        again = imported(content, now)
        unchanged = {"new": "unchanged"}
        assert outcomes(again) == {
            number: unchanged.get(outcome, outcome) for number, outcome in first.items()
        }
        assert Event.objects.exclude(name__startswith="import.").count() == events

    def test_a_number_that_a_spreadsheet_has_rounded_is_refused(
        self, acting: Tenant, now: datetime
    ) -> None:
        row = imported(files.ROUNDED, now)

        assert outcomes(row) == {2: "refused", 3: "refused", 4: "refused", 5: "new"}
        assert "rounded" in details(row)[2]
        assert "rounded" in details(row)[4]
        assert names() == ["Good"]

    def test_leading_zeros_stay(self, acting: Tenant, now: datetime) -> None:
        imported(files.LEADING_ZEROS, now)

        serials = Device.objects.values_list("identifiers__value", flat=True)
        assert sorted(map(str, serials)) == ["000123456", "000123457", "000123458"]

    def test_a_repeated_row_names_the_first_one(self, acting: Tenant, now: datetime) -> None:
        row = checked(files.REPEATED, now)

        assert "row 2" in details(row)[3]
        assert details(row)[4] == "MAC address a8:bb:cc:00:10:12 is in row 2 as well."

    def test_tags_are_separated_and_created(self, acting: Tenant, now: datetime) -> None:
        imported(files.GERMAN_EXCEL, now)

        tags = DeviceTag.objects.values_list("tag__name", flat=True)
        assert sorted(tags) == ["ground floor", "lobby"]

    def test_a_spreadsheet_is_read_with_its_numbers(self, acting: Tenant, now: datetime) -> None:
        rows: list[list[str | float]] = [
            ["Serial number", "Name"],
            ["SN-1", "First"],
            [357123456789012, "Second"],
            [892302600000000000, "Rounded"],
        ]

        row = imported(files.workbook(rows), now)

        assert outcomes(row) == {2: "new", 3: "new", 4: "refused"}
        serials = Device.objects.values_list("identifiers__value", flat=True)
        assert sorted(map(str, serials)) == ["357123456789012", "sn-1"]


class TestReading:
    def test_a_text_of_another_alphabet_needs_its_encoding(
        self, acting: Tenant, now: datetime
    ) -> None:
        row = received(files.HEBREW, now)
        assert "encoding" in row.fault
        with pytest.raises(InvalidColumns):
            imports.check(device_import=row, now=now)

        row = imports.change_encoding(device_import=row, encoding="cp1255")
        worked(imports.check(device_import=row, now=now), now)
        worked(imports.start(device_import=row, now=now), now)

        assert names() == ["מסך ראשי"]

    @pytest.mark.parametrize(
        ("content", "error"),
        [
            (b"", UnreadableFile),
            (b"\r\n \r\n", UnreadableFile),
            (b"PK\x03\x04damaged", UnreadableFile),
            (b"\xd0\xcf\x11\xe0damaged", UnreadableFile),
            (b'"' + b"x" * 200_000, UnreadableFile),
            (b"a," * 101 + b"\r\n", UnreadableFile),
        ],
    )
    def test_what_is_no_table_is_refused(
        self, acting: Tenant, now: datetime, content: bytes, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            received(content, now)

    def test_a_spreadsheet_that_unpacks_to_too_much_is_refused(self) -> None:
        bomb = files.workbook([["x" * 1_000] * 100 for _ in range(1_600)])
        assert len(bomb) < 1_000_000

        with pytest.raises(ImportFileTooLarge):
            reading.from_workbook(bomb)

    def test_a_spreadsheet_with_one_distant_cell_is_refused(self) -> None:
        with pytest.raises(ImportFileTooLarge):
            reading.from_workbook(files.sparse_workbook())

    @pytest.mark.parametrize("separator", ['"', "\x00", "\r", "e", " "])
    def test_a_separator_line_names_only_what_can_separate(self, separator: str) -> None:
        content = f"sep={separator}\r\nserial_number;name\r\nSN-1;Lobby\r\n".encode()

        rows = list(reading.read_rows(content, reading.detect(content)))

        assert [cells for _, cells in rows][-1] == ["SN-1", "Lobby"]

    def test_a_tenant_keeps_a_limited_number_of_files(
        self, acting: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(imports, "MAX_FILES", 1)
        first = received(b"serial\nSN-1\n", now)
        with pytest.raises(TooManyImports):
            received(b"serial\nSN-2\n", now)

        imports.cancel(device_import=first, now=now)
        received(b"serial\nSN-2\n", now)

    def test_the_encoding_of_a_text_of_words_is_not_guessed(self) -> None:
        with pytest.raises(EncodingUnknown):
            reading.detect(b"\xe8\xec\xff\r\n\xcf\xe0\xed\xe5\xeb\xfc\r\n")

    def test_a_file_with_too_many_rows_fails_with_a_sentence(
        self, acting: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reading, "MAX_ROWS", 5)
        content = b"serial_number\r\n" + b"".join(b"SN-%d\r\n" % number for number in range(7))

        row = checked(content, now)

        assert (row.state, "more than 5 rows" in row.fault) == (State.FAILED, True)
        assert not ImportFile.objects.exists()


class TestRows:
    def test_a_known_device_is_changed_where_the_row_has_a_value(
        self, acting: Tenant, now: datetime
    ) -> None:
        imported(b"serial,name,tags\nSN-1,Lobby,a\n", now)

        row = imported(b"serial,mac,name,tags\nSN-1,A8:00:00:00:00:01,Entrance,\n", now)

        assert outcomes(row) == {2: "changed"}
        assert details(row)[2] == "Name: Lobby → Entrance; Added: MAC address a8:00:00:00:00:01"
        assert names() == ["Entrance"]
        assert [str(tag) for tag in DeviceTag.objects.all()] == ["a"]

    def test_a_site_that_does_not_exist_is_refused_or_created(
        self, acting: Tenant, now: datetime
    ) -> None:
        content = b"serial,site\nSN-1,Berlin\nSN-2,Berlin\n"

        refused = checked(content, now)
        assert details(refused) == dict.fromkeys((2, 3), "There is no such site.")

        imported(content, now, creates_sites=True)
        site = Site.objects.get()
        assert list(Device.objects.values_list("site", flat=True)) == [site.pk] * 2

    def test_an_identifier_of_another_device_is_refused_with_its_name(
        self, acting: Tenant, now: datetime
    ) -> None:
        imported(b"serial,mac,name\nSN-1,A8:00:00:00:00:01,Lobby\n", now)

        row = imported(b"serial,mac,name\nSN-2,A8:00:00:00:00:01,Other\nSN-3,,Third\n", now)

        assert outcomes(row) == {2: "refused", 3: "new"}
        assert details(row)[2] == "MAC address a8:00:00:00:00:01 belongs to Lobby."

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("unknown,,Bad", "so it identifies none"),
            (",nonsense,Bad", "is not a valid MAC address"),
            (",,Bad", "is required"),
            ("SN-1,A8:00:00:00:00:01,Bad,more", "in quotation marks"),
        ],
    )
    def test_a_bad_row_is_refused_with_a_sentence(
        self, acting: Tenant, now: datetime, line: str, sentence: str
    ) -> None:
        row = imported(f"serial,mac,name\n{line}\nSN-9,,Good\n".encode(), now)

        assert list(outcomes(row).values()) == ["refused", "new"]
        assert sentence in details(row)[2]

    def test_a_row_may_name_its_device_by_the_id(self, acting: Tenant, now: datetime) -> None:
        device = DeviceFactory.create(tenant=acting, name="Old")
        DeviceIdentifierFactory.create(device=device, written="SN-1", value="sn-1")
        foreign = TenantFactory.create()
        with tenant_scope(foreign.pk):
            other = DeviceFactory.create(tenant=foreign)

        row = imported(
            f"id,serial,name\n{device.pk},SN-1,New\n{device.pk},SN-2,Wrong\n"
            f"{other.pk},,Foreign\nnonsense,,Wrong\n".encode(),
            now,
        )

        assert list(outcomes(row).values()) == ["changed", "refused", "refused", "refused"]
        device.refresh_from_db()
        assert device.name == "New"

    def test_a_retired_device_is_registered_anew(self, acting: Tenant, now: datetime) -> None:
        imported(b"serial\nSN-1\n", now)
        retirement.retire(device=Device.objects.get(), reason="broken", now=now)

        assert outcomes(imported(b"serial\nSN-1\n", now)) == {2: "new"}

    def test_another_tenant_s_device_does_not_matter(self, acting: Tenant, now: datetime) -> None:
        with tenant_scope(TenantFactory.create().pk):
            imported(b"serial\nSN-1\n", now)

        assert outcomes(imported(b"serial\nSN-1\n", now)) == {2: "new"}


class TestWork:
    def test_an_interrupted_import_continues_and_imports_no_row_twice(
        self, acting: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(work, "CHECKED_TOGETHER", 2)
        monkeypatch.setattr(work, "IMPORTED_TOGETHER", 2)
        lines = [b"SN-%d,Device %d\r\n" % (number, number) for number in range(7)]
        row = received(b"serial,name\r\n" + b"".join([*lines, lines[0]]), now)
        row = imports.check(device_import=row, now=now)

        slices = 0
        while row.state == State.CHECKING:
            worked(row, now, time_is_up=once())
            slices += 1
        assert slices == 5
        assert outcomes(row)[9] == "repeated"
        row = imports.start(device_import=row, now=now)
        while row.state == State.RUNNING:
            worked(row, now, time_is_up=once())

        assert len(names()) == row.rows_imported == 7
        finished = Event.objects.get(name="import.finished")
        assert (finished.data["new"], finished.data["repeated"]) == (7, 1)

    def test_a_cancelled_import_keeps_what_is_imported(
        self, acting: Tenant, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(work, "IMPORTED_TOGETHER", 1)
        row = imports.start(device_import=checked(b"serial\nSN-1\nSN-2\n", now), now=now)
        worked(row, now, time_is_up=once())

        imports.cancel(device_import=row, now=now)
        worked(row, now)

        assert (row.state, names()) == (State.CANCELLED, ["SN-1"])
        with pytest.raises(ImportStateConflict):
            imports.start(device_import=row, now=now)

    def test_a_row_uses_the_devices_as_they_are_when_it_is_imported(
        self, acting: Tenant, now: datetime
    ) -> None:
        row = checked(b"serial,name\nSN-1,Lobby\n", now)
        imported(b"serial,name\nSN-1,Meanwhile\n", now)

        worked(imports.start(device_import=row, now=now), now)

        assert (outcomes(row), names()) == ({2: "changed"}, ["Lobby"])

    def test_the_events_name_the_member_who_has_started_the_import(
        self, tenant: Tenant, now: datetime
    ) -> None:
        member = MembershipFactory.create(tenant=tenant).user
        with tenant_scope(tenant.pk):
            row = imports.create(by=member, now=now)
            content = b"serial\nSN-1\n"
            imports.receive(device_import=row, file_name="a.csv", content=content, now=now)
            imports.check(device_import=row, now=now)
            run_slices(now)
            imports.start(device_import=row, now=now)
            run_slices(now)
            event = Event.objects.get(name="device.registered")
        assert (event.caller_kind, event.caller_name) == ("member", member.email)

    def test_old_rows_and_forgotten_files_are_deleted(self, acting: Tenant, now: datetime) -> None:
        imported(b"serial\nSN-1\n", now)
        forgotten = received(b"serial\nSN-2\n", now)

        assert imports.delete_old(now=now + imports.ROWS_KEPT) == 0
        assert imports.delete_old(now=now + imports.ROWS_KEPT * 2) == 1

        forgotten.refresh_from_db()
        assert forgotten.state == State.CANCELLED
        assert not ImportFile.objects.exists()

    def test_the_queries_of_a_check_do_not_grow_with_the_file(
        self, acting: Tenant, now: datetime
    ) -> None:
        """One query per row to identify its device, and the batch's own."""
        lines = b"".join(b"SN-%d\r\n" % number for number in range(50))
        row = imports.check(device_import=received(b"serial\r\n" + lines, now), now=now)

        with CaptureQueriesContext(connection) as queries:
            worked(row, now)

        assert len(queries) < 50 + 20


@pytest.mark.django_db(transaction=True)
def test_a_worker_checks_and_imports_a_file(
    acting: Tenant, now: datetime, celery_worker: None
) -> None:
    row = imports.check(device_import=received(b"serial\nSN-1\n", now), now=now)
    tasks.run_imports.delay()
    wait_until(lambda: state(row) == State.CHECKED)
    imports.start(device_import=row, now=now)
    tasks.run_imports.delay()
    wait_until(lambda: state(row) == State.FINISHED)

    assert names() == ["SN-1"]
    tasks.delete_old_imports.delay().get(timeout=30)


def state(row: DeviceImport) -> str:
    row.refresh_from_db()
    return row.state


def run_slices(now: datetime) -> None:
    while work.next_slice(now=lambda: now, time_is_up=lambda: False):
        pass


def once() -> Callable[[], bool]:
    """Return a timer that lets one batch pass."""
    calls = count()
    return lambda: next(calls) > 0
