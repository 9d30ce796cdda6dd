"""What happens to certificates."""

from datetime import datetime
from typing import Any

from certificates.models import CertificateAuthority, DeviceCertificate
from devices.registry.models import Device
from events.domain_events import DomainEvent


class CertificateEvent(DomainEvent):
    serial_number: str
    not_after: datetime


class CertificateIssued(CertificateEvent):
    """A device has its first certificate, or one for a new key."""

    name = "certificate.issued"

    fingerprint: str
    key_source: str


class CertificateRenewed(CertificateEvent):
    """A newer certificate takes over from the one it replaces."""

    name = "certificate.renewed"

    fingerprint: str
    replaced_serial_number: str


class CertificateRenewalWarning(CertificateEvent):
    """A certificate in use ends soon; said once."""

    name = "certificate.renewal_warning"


class CertificateExpired(CertificateEvent):
    """A certificate is past its end; `was_in_use` unless a newer one had taken over."""

    name = "certificate.expired"

    was_in_use: bool


class CertificateRevoked(CertificateEvent):
    """A certificate may no longer be trusted, from now on."""

    name = "certificate.revoked"

    reason: str


class CertificateSuperseded(CertificateEvent):
    """A certificate's successor is in use: its device confirmed it, or time did."""

    name = "certificate.superseded"

    confirmed: bool


class PrivateKeyDelivered(CertificateEvent):
    """A key that the server made has left it, to its own device; it is here no more."""

    name = "certificate.key_delivered"

    form: str


class AuthorityChanged(DomainEvent):
    """A certificate authority was prepared, signs now, stands by, or is retired."""

    name = "certificate_authority.changed"

    key_identifier: str
    subject: str
    status: str

    @classmethod
    def of(cls, row: CertificateAuthority, now: datetime) -> DomainEvent:
        return cls(
            tenant_id=None,
            device_id=None,
            at=now,
            key_identifier=row.key_identifier,
            subject=row.subject,
            status=row.status,
        )


class RenewalsPulledForward(DomainEvent):
    """A campaign renews certificates early; or it has come to its end."""

    name = "certificate_renewals.pulled_forward"

    reason: str
    per_minute: int
    ended: bool


def issued_or_renewed(
    row: DeviceCertificate, device: Device, now: datetime, *, renewed: bool
) -> DomainEvent:
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
) -> DomainEvent:
    return CertificateSuperseded(**about(row, device, now), confirmed=confirmed)


def revoked(row: DeviceCertificate, device: Device, now: datetime) -> DomainEvent:
    return CertificateRevoked(**about(row, device, now), reason=row.revocation_reason)


def about(row: DeviceCertificate, device: Device, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": device.tenant_id,
        "device_id": device.pk,
        "at": now,
        "serial_number": row.serial_number,
        "not_after": row.not_after,
    }
