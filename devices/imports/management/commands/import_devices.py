import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from core import clock
from devices.imports import reading
from devices.imports.models import DeviceImport, ImportRow
from devices.imports.services import imports, work
from tenants.context import tenant_scope
from tenants.management.operator_command import CommandFailed, OperatorCommand
from tenants.queries import tenant_by_slug

Outcome = ImportRow.Outcome
State = DeviceImport.State
LEFT_OUT = (Outcome.REFUSED, Outcome.REPEATED)


class Command(OperatorCommand):
    help = "Import devices of a tenant from a CSV file or a spreadsheet."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", help="The file, or - for standard input.")
        parser.add_argument("--tenant", required=True, metavar="SLUG", help="Slug of the tenant.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Print what would happen. Change nothing."
        )
        parser.add_argument(
            "--create-sites", action="store_true", help="Create sites that do not exist."
        )
        parser.add_argument(
            "--encoding",
            choices=reading.ENCODINGS,
            default="",
            help="Encoding of a text file (default: found out).",
        )

    def run(
        self,
        file: str,
        tenant: str,
        dry_run: bool,
        create_sites: bool,
        encoding: str,
        **options: Any,
    ) -> tuple[Mapping[str, Any], str]:
        with tenant_scope(tenant_by_slug(tenant).pk):
            row = imports.create(by=None, now=clock.now())
            try:
                return self._import(row, file, dry_run, create_sites, encoding)
            finally:
                row.refresh_from_db()
                if row.state in DeviceImport.OPEN:  # after an error, or without changes
                    imports.cancel(device_import=row, now=clock.now())

    def _import(
        self, row: DeviceImport, file: str, dry_run: bool, create_sites: bool, encoding: str
    ) -> tuple[Mapping[str, Any], str]:
        imports.receive(
            device_import=row, file_name=Path(file).name, content=_read(file), now=clock.now()
        )
        if encoding:
            imports.change_encoding(device_import=row, encoding=encoding)
        row = imports.check(device_import=row, creates_sites=create_sites, now=clock.now())
        row = _work(row)
        if row.state == State.FAILED:
            raise CommandError(row.fault)
        if not dry_run:
            row = _work(imports.start(device_import=row, now=clock.now()))
        counts = imports.outcomes(row)
        left_out = [
            f"row {item.number}: {item.detail}"
            for item in imports.rows_of(row).filter(outcome__in=LEFT_OUT)
        ]
        result = {"import_id": str(row.pk), "dry_run": dry_run, **counts, "left_out": left_out}
        text = ", ".join(f"{name}: {count}" for name, count in counts.items())
        if counts[Outcome.REFUSED]:
            raise CommandFailed("\n".join([*left_out, text]), result)
        return result, "\n".join([*left_out, text])


def _work(row: DeviceImport) -> DeviceImport:
    work.work_on(row, now=clock.now, time_is_up=lambda: False)
    row.refresh_from_db()
    return row


def _read(file: str) -> bytes:
    try:
        if file == "-":
            return sys.stdin.buffer.read(reading.MAX_BYTES + 1)
        with Path(file).open("rb") as stream:
            return stream.read(reading.MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error
