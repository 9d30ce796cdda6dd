from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from core.errors import DomainError
from tenants.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    help = "Warn of, renew and expire what is due by now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="Only count them.")

    def run(self, dry_run: bool, **options: Any) -> tuple[Mapping[str, Any], str]:
        service, now = CertificateManagementService(), timezone.now()
        if dry_run:
            return _told({**_counted(now), "dry_run": True})
        done = service.check_expirations(now=now)
        failures = 0
        for pk in self.with_progress(done.due, len(done.due)):
            try:
                row = DeviceCertificate.objects.get(pk=pk)
                service.renew_certificate(row, now=timezone.now())
            except DomainError as error:
                failures += 1
                self.stderr.write(f"{pk}: {error}")
        if failures:
            raise CommandError(f"{failures} of {len(done.due)} were not renewed.")
        return _told(
            {
                "warned": done.warned,
                "renewed": len(done.due),
                "expired": done.expired,
                "dry_run": False,
            }
        )


def _counted(now: datetime) -> dict[str, int]:
    certificates = DeviceCertificate.objects
    warning = timedelta(days=settings.RENEWAL_WARNING_DAYS)
    renewal = timedelta(days=settings.AUTO_RENEWAL_DAYS)
    return {
        "warned": certificates.due_for_warning(now, warning).count(),
        "renewed": certificates.due_for_renewal(now, renewal).count(),
        "expired": certificates.over(now).count(),
    }


def _told(done: dict[str, Any]) -> tuple[Mapping[str, Any], str]:
    text = ", ".join(
        f"{done[name]} {name}" for name in ("warned", "renewed", "expired")
    )
    return done, f"Would be: {text}." if done["dry_run"] else f"{text}."
