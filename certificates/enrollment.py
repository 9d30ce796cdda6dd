"""Registration with a certificate in the same answer: both or neither."""

from dataclasses import dataclass
from datetime import datetime

from certificates.management_service import CertificateManagementService
from certificates.models import DeviceCertificate
from devices import registration
from devices.box import Box
from devices.models import EnrollmentToken
from devices.registration import Registration


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
    service.requested_key(csr_pem)
    registered = registration.auto_register(box=box, admission=admission, now=now)
    device = registered.device
    try:
        certificate = service.issue_certificate(device=device, csr_pem=csr_pem, now=now)
    except Exception:
        if registered.created:
            registration.retire(device=device, reason="enrollment failed", now=now)
        raise
    return Enrollment(registered, certificate)
