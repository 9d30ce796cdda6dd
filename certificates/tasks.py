"""Celery's doors into the authority."""

from contextlib import suppress
from datetime import timedelta
from itertools import chain
from uuid import UUID

from celery import shared_task
from celery.signals import worker_ready
from django.db import OperationalError
from django.utils import timezone

from certificates.errors import IssuanceInterrupted, NotRenewable
from certificates.models import DeviceCertificate
from certificates.services import inspection, ocsp_responses, renewals, revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.integrity import IntegrityCheck
from certificates.services.key_removal import remove_delivered_keys
from devices.registry.errors import DeviceIsRetired
from tenants.context import every_tenant_scope

LONGEST_OUTAGE = timedelta(days=7)  # what lasts longer wants `check_integrity --fix`
UNTIL_SENT_AGAIN = int(renewals.FIRST_PAUSE.total_seconds()) - 10


@shared_task
def check_expirations() -> dict[str, int]:
    """The monitor: expire and warn; what is due is renewed minute by minute."""
    with every_tenant_scope():
        done = CertificateManagementService().check_expirations(now=timezone.now())
    renew_due.delay()
    return {"warned": done.warned, "expired": done.expired, "due": len(done.due)}


@shared_task
def renew_due() -> int:
    """Fan out one renewal for each certificate whose turn has come."""
    with every_tenant_scope():
        due = renewals.claim_due(CertificateManagementService(), now=timezone.now())
    for certificate_id in due:
        renew.apply_async((str(certificate_id),), expires=UNTIL_SENT_AGAIN)
    return len(due)


@shared_task
def build_revocation_lists() -> int:
    """Build the lists that have news or are old."""
    ca = CertificateManagementService().ca
    with every_tenant_scope():
        return revocation_lists.rebuild_due(ca, now=timezone.now())


@shared_task
def renew_responders() -> int:
    """Delegate the answering of OCSP requests anew before the delegation ends."""
    ca = CertificateManagementService().ca
    with every_tenant_scope():
        return ocsp_responses.renew_responders(ca, now=timezone.now())


@shared_task
def inspect_certificates() -> int:
    """Look at the next slice of all certificates."""
    store = CertificateManagementService().ca.store
    with every_tenant_scope():
        return inspection.inspect_some(store=store, now=timezone.now())


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
def repair_certificates() -> int:
    """Finish or bury what crashed issuances left, and their files; return how many."""
    service = CertificateManagementService()
    check = IntegrityCheck(service, clock=timezone.now, fix=True)
    with every_tenant_scope():
        mended = sum(1 for _ in chain(check.interrupted(), check.left_behind()))
        since = timezone.now() - LONGEST_OUTAGE
        return mended + remove_delivered_keys(service.ca.store, since=since)


@worker_ready.connect
def check_when_the_worker_starts(**_: object) -> None:
    """An outage ends with the start of a worker: catch up without waiting an hour."""
    check_expirations.delay()
