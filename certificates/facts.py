"""What happens to certificates."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from events.outbox import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFact(Fact):
    serial_number: str
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateIssued(CertificateFact):
    """A device has its first certificate, or one for a new key."""

    name: ClassVar = "certificate.issued"

    fingerprint: str
    key_source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRenewed(CertificateFact):
    """A newer certificate takes over from the one it replaces."""

    name: ClassVar = "certificate.renewed"

    fingerprint: str
    replaced_serial_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRenewalWarning(CertificateFact):
    """A certificate in use ends soon; said once."""

    name: ClassVar = "certificate.renewal_warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateExpired(CertificateFact):
    """A certificate is past its end; `was_in_use` unless a newer one had taken over."""

    name: ClassVar = "certificate.expired"

    was_in_use: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRevoked(CertificateFact):
    """A certificate may no longer be trusted, from now on."""

    name: ClassVar = "certificate.revoked"

    reason: str
