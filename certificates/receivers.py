"""What the authority does when it hears of something, and its part in others' verbs."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings

from certificates.facts import CertificateRevoked
from certificates.integrity import destroy_revoked_key
from certificates.management_service import CertificateManagementService
from certificates.models import DeviceCertificate
from devices.hooks import adds_next_steps, when_retiring
from events.outbox import on


@when_retiring
def retirement_revokes(device_id: UUID, now: datetime) -> None:
    CertificateManagementService().revoke_all_of_device(device_id, now=now)


@adds_next_steps
def certificate_to_use(device_id: UUID, now: datetime) -> dict[str, Any]:
    """Which certificate a device should hold: one it does not have waits for it."""
    active = DeviceCertificate.objects.active().of_device(device_id)
    found = active.values_list("serial_number", "not_after")[:1]
    for serial_number, not_after in found:
        window = timedelta(days=settings.AUTO_RENEWAL_DAYS)
        return {
            "certificate_serial_number": serial_number,
            "certificate_renewal_due": not_after <= now + window,
        }
    return {}


@on(CertificateRevoked)
def revocation_destroys_the_key(fact: CertificateRevoked) -> None:
    """A key that the server made for a revoked certificate is of no more use."""
    assert fact.device_id is not None
    destroy_revoked_key(device_id=fact.device_id, serial_number=fact.serial_number)
