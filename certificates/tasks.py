"""Celery's doors into the authority."""

from contextlib import suppress
from itertools import chain
from uuid import UUID

from celery import shared_task
from celery.signals import worker_ready
from django.db import OperationalError
from django.utils import timezone

from certificates.errors import IssuanceInterrupted, NotRenewable
from certificates.integrity import IntegrityCheck
from certificates.management_service import CertificateManagementService
from certificates.models import DeviceCertificate
from devices.errors import DeviceIsRetired
from tenants.context import every_tenant_scope

UNTIL_THE_NEXT_RUN = 3500  # seconds; what waits longer is queued again by then


@shared_task
def check_expirations() -> dict[str, int]:
    """The monitor: expire, warn, and fan out one renewal per certificate that is due."""
    with every_tenant_scope():
        done = CertificateManagementService().check_expirations(now=timezone.now())
    for certificate_id in done.due:
        renew.apply_async((str(certificate_id),), expires=UNTIL_THE_NEXT_RUN)
    return {"warned": done.warned, "expired": done.expired, "due": len(done.due)}


@shared_task(
    autoretry_for=(OperationalError, OSError), retry_backoff=True, max_retries=5
)
def renew(certificate_id: str) -> None:
    """Renew one certificate. Repeating it is harmless."""
    certificate = DeviceCertificate.objects.get(pk=UUID(certificate_id))
    service = CertificateManagementService()
    with (
        every_tenant_scope(),
        suppress(NotRenewable, IssuanceInterrupted, DeviceIsRetired),
    ):
        service.renew_certificate(certificate, now=timezone.now())


@shared_task
def mend() -> int:
    """Finish or bury what crashed issuances left, and their files; return how many."""
    check = IntegrityCheck(CertificateManagementService(), clock=timezone.now, fix=True)
    with every_tenant_scope():
        return sum(1 for _ in chain(check.interrupted(), check.left_behind()))


@worker_ready.connect
def check_when_the_worker_starts(**_: object) -> None:
    """An outage ends with the start of a worker: catch up without waiting an hour."""
    check_expirations.delay()
