from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from core import clock
from core.errors import DomainError
from tenants.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Publish renewal warnings, renew certificates and mark expired ones, for all "
        "certificates that are due now."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--dry-run", action="store_true", help="Only count the due certificates."
        )

    def run(self, dry_run: bool, **options: Any) -> tuple[Mapping[str, Any], str]:
        service, now = CertificateManagementService(), clock.now()
        if dry_run:
            return _result({**_count_due(now), "dry_run": True})
        check = service.check_expirations(now=now)
        failures = 0
        for pk in self.with_progress(check.due, len(check.due)):
            try:
                row = DeviceCertificate.objects.get(pk=pk)
                service.renew_certificate(row, now=clock.now())
            except DomainError as error:
                failures += 1
                self.stderr.write(f"{pk}: {error}")
        if failures:
            raise CommandError(f"{failures} of {len(check.due)} certificates could not be renewed.")
        return _result(
            {
                "warned": check.warned,
                "renewed": len(check.due),
                "expired": check.expired,
                "dry_run": False,
            }
        )


def _count_due(now: datetime) -> dict[str, int]:
    certificates = DeviceCertificate.objects
    warning = timedelta(days=settings.RENEWAL_WARNING_DAYS)
    renewal = timedelta(days=settings.AUTO_RENEWAL_DAYS)
    return {
        "warned": certificates.due_for_warning(now, warning).count(),
        "renewed": certificates.due_for_renewal(now, renewal).count(),
        "expired": certificates.due_for_expiration(now).count(),
    }


def _result(counts: dict[str, Any]) -> tuple[Mapping[str, Any], str]:
    names = ("warned", "renewed", "expired")
    text = ", ".join(f"{counts[name]} {name}" for name in names)
    return counts, f"Dry run: {text}." if counts["dry_run"] else f"{text}."
