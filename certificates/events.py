"""Domain events of certificates and certificate authorities."""

from datetime import datetime
from typing import Any

from certificates.models import CertificateAuthority, DeviceCertificate
from devices.registry.models import Device
from events.domain_events import DomainEvent


class CertificateEvent(DomainEvent):
    serial_number: str
    not_after: datetime


class CertificateIssued(CertificateEvent):
    """A certificate was issued. Renewals are published as `CertificateRenewed`."""

    name = "certificate.issued"

    fingerprint: str
    key_source: str


class CertificateRenewed(CertificateEvent):
    """A certificate that replaces an earlier certificate was issued."""

    name = "certificate.renewed"

    fingerprint: str
    replaced_serial_number: str


class CertificateRenewalWarning(CertificateEvent):
    """A certificate in use ends soon. This event is published once per certificate."""

    name = "certificate.renewal_warning"


class CertificateExpired(CertificateEvent):
    """A certificate has expired. `was_in_use` is false if it had a successor."""

    name = "certificate.expired"

    was_in_use: bool


class CertificateRevoked(CertificateEvent):
    """A certificate was revoked, or its revocation reason was changed."""

    name = "certificate.revoked"

    reason: str


class CertificateSuperseded(CertificateEvent):
    """A certificate was superseded by its successor.

    `confirmed` is true if the device confirmed the successor, and false if the handover
    period ended without a confirmation.
    """

    name = "certificate.superseded"

    confirmed: bool


class PrivateKeyDelivered(CertificateEvent):
    """A server-generated private key was delivered to its device and then deleted."""

    name = "certificate.key_delivered"

    form: str


class AuthorityChanged(DomainEvent):
    """The status of a certificate authority changed; see `CertificateAuthority.Status`."""

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
    """A renewal campaign started, or it ended (`ended` is true)."""

    name = "certificate_renewals.pulled_forward"

    reason: str
    per_minute: int
    ended: bool


def issued_or_renewed(
    row: DeviceCertificate, device: Device, now: datetime, *, renewed: bool
) -> DomainEvent:
    """Return the event for a certificate that was just activated."""
    fields = event_fields(row, device, now)
    if row.replaces is None or not renewed:
        return CertificateIssued(**fields, fingerprint=row.fingerprint, key_source=row.key_source)
    return CertificateRenewed(
        **fields, fingerprint=row.fingerprint, replaced_serial_number=row.replaces.serial_number
    )


def superseded(
    row: DeviceCertificate, device: Device, now: datetime, *, confirmed: bool
) -> DomainEvent:
    return CertificateSuperseded(**event_fields(row, device, now), confirmed=confirmed)


def revoked(row: DeviceCertificate, device: Device, now: datetime) -> DomainEvent:
    return CertificateRevoked(**event_fields(row, device, now), reason=row.revocation_reason)


def event_fields(row: DeviceCertificate, device: Device, now: datetime) -> dict[str, Any]:
    """Return the fields that all `CertificateEvent` classes have."""
    return {
        "tenant_id": device.tenant_id,
        "device_id": device.pk,
        "at": now,
        "serial_number": row.serial_number,
        "not_after": row.not_after,
    }
