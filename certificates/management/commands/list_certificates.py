from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from certificates.models import DeviceCertificate
from tenants.management.operator_command import OperatorCommand

COLUMNS = ("serial_number", "status", "not_after", "device_id")


class Command(OperatorCommand):
    help = "List certificates, the newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--device", type=UUID, metavar="DEVICE_ID")
        parser.add_argument("--status", choices=DeviceCertificate.Status.values)
        parser.add_argument(
            "--limit", type=int, default=100, help="Maximum number of certificates."
        )

    def run(
        self, device: UUID | None, status: str | None, limit: int, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        certificates = DeviceCertificate.objects.signed()
        if device is not None:
            certificates = certificates.of_device(device)
        if status is not None:
            certificates = certificates.filter(status=status)
        rows = list(certificates.values(*COLUMNS)[: min(max(0, limit), 1_000_000)])
        lines = [
            f"{row['serial_number']:<40}  {row['status']:<10}  "
            f"{row['not_after']:%Y-%m-%d}  {row['device_id']}"
            for row in rows
        ]
        return {"certificates": rows}, "\n".join(lines) or "No certificates found."
