from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.utils import timezone

from certificates.services.certificate_management import CertificateManagementService
from certificates.services.integrity import IntegrityCheck
from tenants.management.operator_command import OperatorCommand, Refused


class Command(OperatorCommand):
    help = "Compare certificate files with their records; with --fix mend what differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--fix", action="store_true", help="Mend it.")

    def run(self, fix: bool, **options: Any) -> tuple[Mapping[str, Any], str]:
        check = IntegrityCheck(
            CertificateManagementService(), clock=timezone.now, fix=fix
        )
        found = list(check.run())
        for difference in found:
            self.stderr.write(difference.sentence)
        made = {
            "differences": [asdict(difference) for difference in found],
            "fixed": fix,
        }
        if found and not fix:
            raise Refused(f"{len(found)} differ; --fix mends them.", made)
        left = sum(not difference.mended for difference in found)
        if left:
            raise Refused(f"{len(found) - left} mended, {left} wait for you.", made)
        return made, f"{len(found)} mended." if found else "Records and files agree."
