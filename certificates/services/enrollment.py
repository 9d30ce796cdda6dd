"""Registration of a device, together with the issuance of its certificate."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from certificates import queries
from certificates.errors import KeyInUse
from certificates.models import DeviceCertificate
from certificates.pki import keys
from certificates.services.certificate_management import CertificateManagementService
from devices.registry.device_report import DeviceReport
from devices.registry.models import DeviceToken, EnrollmentToken
from devices.registry.queries import lock_device
from devices.registry.services import registration, retirement
from devices.registry.services.credentials import refund_use
from devices.registry.services.registration import Registration
from tenants import tokens


@dataclass(frozen=True, slots=True)
class Enrollment:
    """A registered device with its token and, if it sent a CSR, its certificate."""

    registration: Registration
    certificate: DeviceCertificate | None


def enroll(
    *,
    report: DeviceReport,
    csr_pem: str | None,
    enrollment_token: EnrollmentToken | None,
    service: CertificateManagementService,
    now: datetime,
) -> Enrollment:
    """Register a device and issue a certificate for its CSR.

    A CSR that cannot be signed is refused before the registration. If signing fails
    afterwards, a newly registered device is retired again. After a crash the device
    repeats its request and is then already registered.

    Args:
        report: what the device sends about itself.
        csr_pem: None to register only.
        enrollment_token: the enrollment token with which the device registers.

    Raises:
        DomainError: see `registration.auto_register` and
            `CertificateManagementService.issue_certificate`.
    """
    if csr_pem is None:
        registered = registration.auto_register(
            report=report, enrollment_token=enrollment_token, now=now
        )
        return Enrollment(registered, None)
    digest, key_holder = _check_csr(csr_pem, service, now)
    registered = registration.auto_register(
        report=report,
        enrollment_token=enrollment_token,
        key_digest=digest,
        key_holder=key_holder,
        now=now,
    )
    device = registered.device
    if device.quarantined_at is not None:
        return Enrollment(registered, None)  # a quarantined device may only connect
    try:
        certificate = service.issue_certificate(device=device, csr_pem=csr_pem, now=now)
    except Exception:  # whatever failed, the device must not stay registered without its token
        if registered.created:
            _undo_registration(registered, enrollment_token, now)
        raise
    return Enrollment(registered, certificate)


def _check_csr(
    csr_pem: str, service: CertificateManagementService, now: datetime
) -> tuple[str, UUID | None]:
    """Check before the registration that the CSR can be signed.

    Returns:
        The digest of its key, and the device of the tenant that has this key. The signature of
        the CSR proves that the caller has it, so it is this device.
    """
    digest = keys.public_digest(service.requested_key(csr_pem))
    service.authority(now=now)
    key_holder = queries.device_of_key(digest)
    holders = [] if key_holder is None else [key_holder]
    if (reason := queries.key_refusal_reason(digest, for_devices=holders)) is not None:
        # Check again: the device may have registered between the two queries.
        key_holder = queries.device_of_key(digest)
        holders = [] if key_holder is None else [key_holder]
        reason = queries.key_refusal_reason(digest, for_devices=holders)
    if reason is not None:
        raise KeyInUse(reason, field="csr")
    return digest, key_holder


@transaction.atomic
def _undo_registration(
    registered: Registration, enrollment_token: EnrollmentToken | None, now: datetime
) -> None:
    """Retire a new device unless it has registered again or has received a certificate."""
    device = lock_device(registered.device.pk)
    token = DeviceToken.objects.filter(device=device, digest=tokens.digest(registered.token))
    certificates = DeviceCertificate.objects.active().of_device(device.pk)
    if token.exists() and not certificates.exists():
        retirement.retire(device=device, reason="enrollment failed", now=now)
        if enrollment_token is not None:
            refund_use(enrollment_token)
