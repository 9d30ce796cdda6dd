"""A device's request by EST: parse, see that it may, issue."""

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
from certificates.pki import est
from certificates.pki.errors import PkiError
from certificates.services.certificate_management import (
    CertificateManagementService,
    certificate_in_use,
)
from certificates.services.issuance import ABANDONED_AFTER
from devices.registry.models import Device

UNTIL_DECIDED = timedelta(minutes=10)
UNTIL_FINISHED = timedelta(seconds=5)


def enroll(
    *,
    device: Device,
    body: bytes,
    again: bool,
    service: CertificateManagementService,
    now: datetime,
) -> DeviceCertificate:
    """Sign the request in an EST body.

    Args:
        again: it is a re-enrollment, which keeps the names of the certificate in use.

    Raises:
        InvalidRequest: it is no request, proves no acceptable key, or wants other names.
        NothingToReenroll: it has no certificate in use.
        EnrollmentPending: a member has to decide, or an issuance is under way.
        KeyInUse: another device has the key.
    """
    csr_pem = _request(body)
    service.requested_key(csr_pem)
    if device.quarantined_at is not None:
        raise EnrollmentPending(UNTIL_DECIDED)
    pending = DeviceCertificate.objects.pending().of_device(device.pk)
    if pending.filter(reserved_at__gt=now - ABANDONED_AFTER).exists():
        raise EnrollmentPending(UNTIL_FINISHED)
    if again:
        return _again(device, csr_pem, service, now)
    return service.issue_certificate(device=device, csr_pem=csr_pem, now=now)


def _again(
    device: Device, csr_pem: str, service: CertificateManagementService, now: datetime
) -> DeviceCertificate:
    try:
        current = certificate_in_use(device)
    except NoSuchCertificate as error:
        raise NothingToReenroll("There is none to re-enroll: simpleenroll.") from error
    differing = est.names_differ(csr_pem, current.signed_certificate())
    if differing is not None:
        raise InvalidRequest(
            f"A re-enrollment keeps the certificate's names: the {differing} differs. "
            f"The subject is {current.signed_certificate().subject.rfc4514_string()}, "
            "written from its last part.",
            field="csr",
        )
    try:
        return service.renew_certificate(current, csr_pem=csr_pem, now=now)
    except (NotRenewable, IssuanceInterrupted) as error:
        raise EnrollmentPending(UNTIL_FINISHED) from error


def _request(body: bytes) -> str:
    try:
        return est.csr_pem(body)
    except PkiError as error:
        raise InvalidRequest(f"The CSR is refused: {error}.", field="csr") from error
