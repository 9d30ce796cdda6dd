from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from certificates.errors import NoSuchCertificate
from certificates.models import DeviceCertificate
from certificates.pki import serials
from certificates.services.certificate_management import CertificateManagementService
from core import clock
from core.querysets import first_or_raise
from tenants.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    help = "Revoke a certificate."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("serial_number", help="Serial number, hexadecimal.")
        parser.add_argument(
            "--reason",
            required=True,
            help="Revocation reason of RFC 5280 §5.3.1, such as keyCompromise.",
        )

    def run(self, serial_number: str, reason: str, **options: Any) -> tuple[Mapping[str, Any], str]:
        normalised = serials.normalise(serial_number) or ""
        signed = DeviceCertificate.objects.signed()
        certificate = first_or_raise(signed.filter(serial_number=normalised), NoSuchCertificate)
        row = CertificateManagementService().revoke_certificate(
            certificate, reason=reason, now=clock.now()
        )
        result = {
            "serial_number": row.serial_number,
            "revoked_at": row.revoked_at,
            "revocation_reason": row.revocation_reason,
        }
        return result, f"Revoked {row.serial_number}: {row.revocation_reason}."
