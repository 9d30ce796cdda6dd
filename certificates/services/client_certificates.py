"""Whether the certificate of a connection is one that a device may act with now."""

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certificates import queries
from certificates.errors import ClientCertificateRefused
from certificates.models import DeviceCertificate
from certificates.pki.errors import PkiError
from certificates.pki.issuer import presented
from certificates.services import authorities
from devices.registry.models import Device

LONGEST = 8192  # characters of PEM
ACCEPTED = {
    DeviceCertificate.Status.ACTIVE.value,
    DeviceCertificate.Status.SUPERSEDED.value,
}


def judge(pem: str, *, now: datetime) -> tuple[DeviceCertificate, Device]:
    """The record of a presented certificate, and its device with its next steps.

    Raises:
        ClientCertificateRefused: it is not readable, not ours, not valid now, revoked,
            or not the one on record.
    """
    shown = _parsed(pem)
    if not shown.not_valid_before_utc <= now <= shown.not_valid_after_utc:
        raise ClientCertificateRefused("The client certificate is not valid now.")
    if not authorities.is_ours(shown):
        raise ClientCertificateRefused("The client certificate is not of this CA.")
    fingerprint = shown.fingerprint(hashes.SHA256()).hex()
    found = queries.certificate_and_device(fingerprint)
    if found is None:
        raise ClientCertificateRefused("The client certificate is not on record.")
    row, device = found
    if row.status not in ACCEPTED:
        raise ClientCertificateRefused(f"The client certificate is {row.status}.")
    if device.status == Device.Status.RETIRED:
        raise ClientCertificateRefused("The device is retired.")
    return row, device


def _parsed(pem: str) -> x509.Certificate:
    if len(pem) > LONGEST:
        raise ClientCertificateRefused("The client certificate is too long.")
    try:
        return presented(pem)
    except PkiError as error:
        raise ClientCertificateRefused(
            "The client certificate cannot be read."
        ) from error
