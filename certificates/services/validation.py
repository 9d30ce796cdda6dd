"""Validation of a certificate in PEM, with every reason why it is not valid."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cryptography.hazmat.primitives import hashes

from certificates.models import DeviceCertificate
from certificates.pki import serials
from certificates.pki.errors import PkiError
from certificates.pki.issuer import parse_certificate
from certificates.services import authorities

Problem = Literal[
    "malformed",
    "unknown",
    "fingerprint_mismatch",
    "signature_invalid",
    "not_yet_valid",
    "expired",
    "revoked",
]


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of a validation. `certificate` is the record, if there is one."""

    problems: list[Problem]
    certificate: DeviceCertificate | None = None

    @property
    def valid(self) -> bool:
        return not self.problems


def validate_certificate(pem: str, *, now: datetime) -> Validation:
    """Check a certificate's record, signature, validity period and revocation.

    A certificate of another tenant's device is reported as unknown.
    """
    try:
        certificate = parse_certificate(pem)
    except PkiError:
        return Validation(["malformed"])
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    serial_number = serials.to_text(certificate.serial_number)
    owned = DeviceCertificate.objects.of_current_tenant().signed()
    row = owned.filter(serial_number=serial_number).select_related("device").first()
    problems: list[Problem] = []
    if row is None:
        problems.append("unknown")
    elif row.fingerprint != fingerprint:
        problems.append("fingerprint_mismatch")
    if not authorities.is_issued_by_trusted_ca(certificate):
        problems.append("signature_invalid")
    if now < certificate.not_valid_before_utc:
        problems.append("not_yet_valid")
    if now > certificate.not_valid_after_utc:
        problems.append("expired")
    if row is not None and row.revoked_at is not None:
        problems.append("revoked")
    return Validation(problems, row)
