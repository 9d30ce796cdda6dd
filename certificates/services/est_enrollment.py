"""Enrollment and re-enrollment of a device by EST (RFC 7030)."""

from datetime import datetime, timedelta

from certificates.errors import (
    EnrollmentPending,
    InvalidRequest,
    IssuanceInterrupted,
    NoSuchCertificate,
    NothingToReenroll,
    NotRenewable,
)
from certificates.models import DeviceCertificate
from certificates.pki import est, keys
from certificates.pki.errors import PkiError
from certificates.services.certificate_management import (
    CertificateManagementService,
    certificate_in_use,
)
from certificates.services.issuance import ABANDONED_AFTER
from certificates.services.renewal_windows import window_of
from devices.registry.models import Device

QUARANTINE_RETRY = timedelta(minutes=10)
ISSUANCE_RETRY = timedelta(seconds=5)


def enroll(
    *,
    device: Device,
    body: bytes,
    reenroll: bool,
    service: CertificateManagementService,
    now: datetime,
) -> DeviceCertificate:
    """Issue a certificate for the CSR in an EST request body.

    Args:
        body: the CSR, as DER in base64 or as PEM.
        reenroll: whether to renew the certificate in use. If so, the CSR must contain the
            names of that certificate. If it has the same key and the certificate is not due
            for renewal, the certificate in use is returned.

    Raises:
        InvalidRequest: the body is not a CSR, its key is not acceptable, or its names
            differ from those of the certificate in use.
        NothingToReenroll: the device has no certificate in use.
        EnrollmentPending: the device is in quarantine, or an issuance is in progress.
        KeyInUse: another device has the key.
    """
    csr_pem = _parse_body(body)
    service.requested_key(csr_pem)
    if device.quarantined_at is not None:
        raise EnrollmentPending(QUARANTINE_RETRY)
    pending = DeviceCertificate.objects.pending().of_device(device.pk)
    if pending.filter(reserved_at__gt=now - ABANDONED_AFTER).exists():
        raise EnrollmentPending(ISSUANCE_RETRY)
    if reenroll:
        return _reenroll(device, csr_pem, service, now)
    return service.issue_certificate(device=device, csr_pem=csr_pem, now=now)


def _reenroll(
    device: Device, csr_pem: str, service: CertificateManagementService, now: datetime
) -> DeviceCertificate:
    try:
        current = certificate_in_use(device)
    except NoSuchCertificate as error:
        raise NothingToReenroll(
            "The device has no certificate to re-enroll. Use simpleenroll."
        ) from error
    certificate = current.signed_certificate()
    digest = keys.public_digest(service.requested_key(csr_pem))
    if digest == current.public_key_digest and window_of(current, now=now).start > now:
        return current
    differing_name = est.differing_name(csr_pem, certificate)
    if differing_name is not None:
        raise InvalidRequest(
            "A re-enrollment must keep the names of the current certificate, but the "
            f"{differing_name} differs. The subject must be "
            f"{certificate.subject.rfc4514_string()} (RFC 4514: last component first).",
            field="csr",
        )
    try:
        return service.renew_certificate(current, csr_pem=csr_pem, now=now)
    except (NotRenewable, IssuanceInterrupted) as error:
        raise EnrollmentPending(ISSUANCE_RETRY) from error


def _parse_body(body: bytes) -> str:
    try:
        return est.csr_pem(body)
    except PkiError as error:
        raise InvalidRequest(f"The CSR is invalid: {error}.", field="csr") from error
