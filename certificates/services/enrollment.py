"""Registration with a certificate in the same answer: both or neither."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from certificates import queries
from certificates.errors import KeyInUse
from certificates.models import DeviceCertificate
from certificates.pki import keys
from certificates.services.certificate_management import CertificateManagementService
from devices.registry.device_report import Box
from devices.registry.models import DeviceToken, EnrollmentToken
from devices.registry.queries import devices_known_by, hold
from devices.registry.services import registration
from devices.registry.services.credentials import give_back
from devices.registry.services.registration import Registration
from tenants import tokens


@dataclass(frozen=True, slots=True)
class Enrollment:
    """A registered device, its token and, if it asked for one, its certificate."""

    registration: Registration
    certificate: DeviceCertificate | None


def enroll(
    *,
    box: Box,
    csr_pem: str | None,
    admission: EnrollmentToken | None,
    service: CertificateManagementService,
    now: datetime,
) -> Enrollment:
    """Register a box and sign the key that its request proves.

    A request that cannot be signed is refused before anything happens. Should the
    signing itself fail, a device that is new goes again; killed in between, the box
    comes back with the same request and finds its device.

    Raises:
        DomainError: see `registration.auto_register` and
            `CertificateManagementService.issue_certificate`.
    """
    if csr_pem is None:
        registered = registration.auto_register(box=box, admission=admission, now=now)
        return Enrollment(registered, None)
    digest = _see_that_it_can_be_signed(box, csr_pem, service, now)
    registered = registration.auto_register(
        box=box, admission=admission, key_digest=digest, now=now
    )
    device = registered.device
    if device.quarantined_at is not None:
        return Enrollment(registered, None)  # a token to connect with, nothing else
    try:
        certificate = service.issue_certificate(device=device, csr_pem=csr_pem, now=now)
    except Exception:
        if registered.created:
            _take_back(registered, admission, now)
        raise
    return Enrollment(registered, certificate)


def _see_that_it_can_be_signed(
    box: Box, csr_pem: str, service: CertificateManagementService, now: datetime
) -> str:
    """Refuse before anything happens what would be refused after it; the key's digest."""
    digest = keys.public_digest(service.requested_key(csr_pem))
    service.authority(now=now)
    why = _why_barred(box, digest)
    if why is not None:  # unless the box registered itself between the two questions
        why = _why_barred(box, digest)
    if why is not None:
        raise KeyInUse(why, field="csr")
    return digest


def _why_barred(box: Box, digest: str) -> str | None:
    known = devices_known_by(box.identifiers())
    return queries.why_key_is_barred(digest, for_devices=known)


@transaction.atomic
def _take_back(
    registered: Registration, admission: EnrollmentToken | None, now: datetime
) -> None:
    """Undo a registration, unless the box has registered again since then."""
    device = hold(registered.device.pk)
    issued = DeviceToken.objects.filter(
        device=device, digest=tokens.digest(registered.token)
    )
    certified = DeviceCertificate.objects.active().of_device(device.pk)
    if issued.exists() and not certified.exists():
        registration.retire(device=device, reason="enrollment failed", now=now)
        if admission is not None:
            give_back(admission)
