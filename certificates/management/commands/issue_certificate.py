from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from certificates.pki.keys import KEY_TYPES, KeyType
from certificates.services.certificate_management import CertificateManagementService
from core import clock
from core.querysets import first_or_raise
from devices.registry.errors import DeviceNotFound
from devices.registry.models import Device
from tenants.management.operator_command import OperatorCommand, table


class Command(OperatorCommand):
    help = (
        "Issue a certificate for a device. With --csr, the certificate is for the key of "
        "the CSR. Without --csr, the server generates a key."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("device_id", type=UUID)
        parser.add_argument(
            "--csr", type=Path, metavar="FILE", help="Certificate signing request, PEM."
        )
        parser.add_argument(
            "--key-type",
            choices=KEY_TYPES,
            default="rsa",
            help="Type of the key that the server generates. Ignored with --csr.",
        )

    def run(
        self, device_id: UUID, csr: Path | None, key_type: KeyType, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        device = first_or_raise(
            Device.every_tenant.not_retired().filter(pk=device_id), DeviceNotFound
        )
        service = CertificateManagementService()
        row = service.issue_certificate(
            device=device,
            csr_pem=None if csr is None else _read(csr),
            key_type=key_type,
            now=clock.now(),
        )
        store = service.ca.store
        result = {
            "serial_number": row.serial_number,
            "fingerprint": row.fingerprint,
            "not_after": row.not_after,
            "certificate": str(store.certificate_of(device_id)),
            "key": str(store.key_of(device_id)) if csr is None else None,
        }
        return result, table({name: value or "-" for name, value in result.items()})


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}.") from error
