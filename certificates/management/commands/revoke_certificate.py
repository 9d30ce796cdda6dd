from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from certificates.errors import NoSuchCertificate
from certificates.models import DeviceCertificate
from certificates.pki import serials
from certificates.services.certificate_management import CertificateManagementService
from tenants.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    help = "End the trust in a certificate."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("serial_number")
        parser.add_argument("--reason", required=True, help="RFC 5280 §5.3.1")

    def run(
        self, serial_number: str, reason: str, **options: Any
    ) -> tuple[Mapping[str, Any], str]:
        written = serials.normalise(serial_number)
        signed = DeviceCertificate.objects.signed().filter(serial_number=written or "")
        certificate = signed.first()
        if certificate is None:
            raise NoSuchCertificate
        row = CertificateManagementService().revoke_certificate(
            certificate, reason=reason, now=timezone.now()
        )
        made = {
            "serial_number": row.serial_number,
            "revoked_at": row.revoked_at,
            "revocation_reason": row.revocation_reason,
        }
        return made, f"Revoked {row.serial_number}: {row.revocation_reason}."
