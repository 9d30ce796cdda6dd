from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from certificates.services.certificate_management import CertificateManagementService
from certificates.services.integrity import IntegrityCheck
from core import clock
from tenants.management.operator_command import CommandFailed, OperatorCommand


class Command(OperatorCommand):
    help = "Compare certificate files with their records and report the differences."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--fix", action="store_true", help="Repair the differences.")

    def run(self, fix: bool, **options: Any) -> tuple[Mapping[str, Any], str]:
        check = IntegrityCheck(CertificateManagementService(), clock=clock.now, fix=fix)
        differences = list(check.run())
        for difference in differences:
            self.stderr.write(difference.sentence)
        result = {"differences": [asdict(difference) for difference in differences], "fixed": fix}
        count = len(differences)
        if differences and not fix:
            raise CommandFailed(f"Differences found: {count}. Repair them with --fix.", result)
        remaining = sum(not difference.mended for difference in differences)
        if remaining:
            raise CommandFailed(
                f"Differences repaired: {count - remaining}. Repair by hand: {remaining}.", result
            )
        if differences:
            return result, f"Differences repaired: {count}."
        return result, "Records and files agree."
