"""Verification of the client certificate that a device presents in a TLS connection."""

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certificates import queries
from certificates.errors import ClientCertificateRefused
from certificates.models import DeviceCertificate
from certificates.pki.errors import PkiError
from certificates.pki.issuer import parse_certificate
from certificates.services import authorities
from devices.registry.models import Device

MAX_LENGTH = 8192  # characters of PEM
ACCEPTED = {DeviceCertificate.Status.ACTIVE.value, DeviceCertificate.Status.SUPERSEDED.value}


def verify(pem: str, *, now: datetime) -> tuple[DeviceCertificate, Device]:
    """Verify a client certificate. Return its record, and the device with its next steps.

    Raises:
        ClientCertificateRefused: the certificate is unreadable, not valid now, not
            signed by a trusted CA of this server, not on record, or revoked. The
            error is also raised if the device is retired.
    """
    certificate = _parse(pem)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ClientCertificateRefused("The client certificate is not valid now.")
    if not authorities.is_issued_by_trusted_ca(certificate):
        raise ClientCertificateRefused(
            "The client certificate was not issued by a CA of this server."
        )
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    record = queries.certificate_and_device(fingerprint)
    if record is None:
        raise ClientCertificateRefused("The client certificate is not on record.")
    row, device = record
    if row.status not in ACCEPTED:
        raise ClientCertificateRefused(f"The client certificate is {row.status}.")
    if device.status == Device.Status.RETIRED:
        raise ClientCertificateRefused("The device is retired.")
    return row, device


def _parse(pem: str) -> x509.Certificate:
    if len(pem) > MAX_LENGTH:
        raise ClientCertificateRefused(
            f"The client certificate is longer than {MAX_LENGTH} characters."
        )
    try:
        return parse_certificate(pem)
    except PkiError as error:
        raise ClientCertificateRefused("The client certificate cannot be read as PEM.") from error
