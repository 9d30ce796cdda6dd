"""What happens to certificates."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from certificates.models import CertificateAuthority, DeviceCertificate
from devices.registry.models import Device
from events.services.outbox import Fact


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSuperseded(CertificateFact):
    """A certificate's successor is in use: its device confirmed it, or time did."""

    name: ClassVar = "certificate.superseded"

    confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateKeyDelivered(CertificateFact):
    """A key that the server made has left it, to its own device; it is here no more."""

    name: ClassVar = "certificate.key_delivered"

    form: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityChanged(Fact):
    """A certificate authority was prepared, signs now, stands by, or is retired."""

    name: ClassVar = "certificate_authority.changed"

    key_identifier: str
    subject: str
    status: str

    @classmethod
    def of(cls, row: CertificateAuthority, now: datetime) -> Fact:
        return cls(
            tenant_id=None,
            device_id=None,
            at=now,
            key_identifier=row.key_identifier,
            subject=row.subject,
            status=row.status,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalsPulledForward(Fact):
    """A campaign renews certificates early; or it has come to its end."""

    name: ClassVar = "certificate_renewals.pulled_forward"

    reason: str
    per_minute: int
    ended: bool


def issued_or_renewed(
    row: DeviceCertificate, device: Device, now: datetime, *, renewed: bool
) -> Fact:
    """What there is to announce of a certificate that has just become active."""
    facts = about(row, device, now)
    if row.replaces is None or not renewed:
        return CertificateIssued(
            **facts, fingerprint=row.fingerprint, key_source=row.key_source
        )
    return CertificateRenewed(
        **facts,
        fingerprint=row.fingerprint,
        replaced_serial_number=row.replaces.serial_number,
    )


def superseded(
    row: DeviceCertificate, device: Device, now: datetime, *, confirmed: bool
) -> Fact:
    return CertificateSuperseded(**about(row, device, now), confirmed=confirmed)


def revoked(row: DeviceCertificate, device: Device, now: datetime) -> Fact:
    return CertificateRevoked(**about(row, device, now), reason=row.revocation_reason)


def about(row: DeviceCertificate, device: Device, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": device.tenant_id,
        "device_id": device.pk,
        "at": now,
        "serial_number": row.serial_number,
        "not_after": row.not_after,
    }
