"""Whether a presented certificate may be trusted, with every reason why not."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cryptography.hazmat.primitives import hashes

from certificates.models import DeviceCertificate
from certificates.pki import serials
from certificates.pki.errors import PkiError
from certificates.pki.issuer import presented
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
    """The verdict; `certificate` is the record, where there is one."""

    problems: list[Problem]
    certificate: DeviceCertificate | None = None

    @property
    def valid(self) -> bool:
        return not self.problems


def validate_certificate(pem: str, *, now: datetime) -> Validation:
    """Judge a certificate by its record, its signature and the time: every reason.

    A certificate of another tenant's device is unknown here.
    """
    try:
        shown = presented(pem)
    except PkiError:
        return Validation(["malformed"])
    fingerprint = shown.fingerprint(hashes.SHA256()).hex()
    serial_number = serials.to_text(shown.serial_number)
    known = DeviceCertificate.objects.owned().signed()
    row = known.filter(serial_number=serial_number).select_related("device").first()
    problems: list[Problem] = []
    if row is None:
        problems.append("unknown")
    elif row.fingerprint != fingerprint:
        problems.append("fingerprint_mismatch")
    if not authorities.is_ours(shown):
        problems.append("signature_invalid")
    if now < shown.not_valid_before_utc:
        problems.append("not_yet_valid")
    if now > shown.not_valid_after_utc:
        problems.append("expired")
    if row is not None and row.revoked_at is not None:
        problems.append("revoked")
    return Validation(problems, row)
