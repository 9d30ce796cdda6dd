"""Celery tasks of the certificate life cycle."""

from contextlib import suppress
from datetime import timedelta
from itertools import chain
from uuid import UUID

from celery import shared_task
from celery.signals import worker_ready
from django.db import OperationalError

from certificates.errors import IssuanceInterrupted, NotRenewable
from certificates.models import DeviceCertificate
from certificates.services import inspection, ocsp_responses, renewals, revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.integrity import IntegrityCheck
from certificates.services.key_removal import remove_delivered_keys
from core import clock
from devices.registry.errors import DeviceIsRetired
from tenants.context import every_tenant_scope

MAX_OUTAGE = timedelta(days=7)  # after a longer one run `check_integrity --fix`
LONGEST_INSPECTION = timedelta(seconds=45)
# A renewal task expires before `renew_due` can send it again.
RENEWAL_TASK_EXPIRES = int(renewals.FIRST_RETRY_DELAY.total_seconds()) - 10  # s


@shared_task
def check_expirations() -> dict[str, int]:
    """Mark expired certificates, publish renewal warnings and start `renew_due`."""
    with every_tenant_scope():
        result = CertificateManagementService().check_expirations(now=clock.now())
    renew_due.delay()
    return {"warned": result.warned, "expired": result.expired, "due": len(result.due)}


@shared_task
def renew_due() -> int:
    """Start one `renew` task for each certificate that is due. Return their number."""
    with every_tenant_scope():
        due = renewals.claim_due(CertificateManagementService(), now=clock.now())
    for certificate_id in due:
        renew.apply_async((str(certificate_id),), expires=RENEWAL_TASK_EXPIRES)
    return len(due)


@shared_task
def build_revocation_lists() -> int:
    """Build the revocation lists that have new entries or are due for a rebuild."""
    ca = CertificateManagementService().ca
    with every_tenant_scope():
        return revocation_lists.rebuild_due(ca, now=clock.now())


@shared_task
def renew_responders() -> int:
    """Issue new OCSP responder certificates before the current ones expire."""
    ca = CertificateManagementService().ca
    with every_tenant_scope():
        return ocsp_responses.renew_responders(ca, now=clock.now())


@shared_task
def inspect_certificates() -> int:
    """Audit the next of all certificates. Return how many were audited."""
    store = CertificateManagementService().ca.store
    now = clock.now()
    with every_tenant_scope():
        return inspection.inspect(
            store=store, now=now, time_is_up=lambda: clock.now() - now > LONGEST_INSPECTION
        )


@shared_task(autoretry_for=(OperationalError, OSError), retry_backoff=True, max_retries=5)
def renew(certificate_id: str) -> None:
    """Renew one certificate. Running the task again has no further effect."""
    certificate = DeviceCertificate.objects.get(pk=UUID(certificate_id))
    service = CertificateManagementService()
    with every_tenant_scope(), suppress(NotRenewable, IssuanceInterrupted, DeviceIsRetired):
        service.renew_certificate(certificate, now=clock.now())


@shared_task
def repair_certificates() -> int:
    """Clean up after crashes.

    Activate certificates that were signed but not activated, and mark other interrupted
    issuances as failed. Remove leftover files and private keys that were delivered.
    Return how many problems were repaired.
    """
    service = CertificateManagementService()
    check = IntegrityCheck(service, clock=clock.now, fix=True)
    with every_tenant_scope():
        repaired = sum(1 for _ in chain(check.interrupted(), check.leftover_files()))
        since = clock.now() - MAX_OUTAGE
        return repaired + remove_delivered_keys(service.ca.store, since=since)


@worker_ready.connect
def check_when_the_worker_starts(**_: object) -> None:
    """Check expirations at once after an outage, without waiting for the next hour."""
    check_expirations.delay()
