from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import DomainError
from core.spreadsheets import as_text, csv_lines
from devices.registry import exports
from devices.registry.models import Device
from tenants.context import every_tenant_scope, tenant_scope
from tenants.queries import tenant_by_slug


class Command(BaseCommand):
    help = "Print the devices of a tenant as CSV, which import_devices reads."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", required=True, metavar="SLUG", help="Slug of the tenant.")
        parser.add_argument(
            "--retired", action="store_true", help="Include devices that are retired."
        )

    def handle(self, tenant: str, retired: bool, **options: Any) -> None:
        try:
            with every_tenant_scope():
                tenant_id = tenant_by_slug(tenant).pk
        except DomainError as error:
            raise CommandError(str(error)) from error
        with tenant_scope(tenant_id):
            columns = exports.columns()
            devices = Device.objects.all() if retired else Device.objects.not_retired()
            lines = csv_lines(
                [header for header, _ in columns],
                exports.with_columns(devices),
                lambda device: [as_text(value(device)) for _, value in columns],
            )
        for chunk in lines:
            self.stdout.write(chunk, ending="")
