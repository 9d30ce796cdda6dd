"""Revocation of certificates."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from certificates.errors import InvalidReason, NotRevocable
from certificates.events import revoked
from certificates.models import DeviceCertificate
from certificates.services import issuance
from devices.registry.models import Device
from devices.registry.queries import lock_device
from events.services.outbox import record

Status = DeviceCertificate.Status
Reason = DeviceCertificate.Reason


@transaction.atomic
def revoke(certificate: DeviceCertificate, *, reason: str, now: datetime) -> DeviceCertificate:
    """Revoke a certificate.

    If the certificate is already revoked, only one change has an effect: its reason can be
    changed to key compromise. For key compromise, the device's other certificates with the
    same key are revoked too.

    Args:
        reason: a reason of RFC 5280 §5.3.1; see `parse_reason`.

    Raises:
        InvalidReason: the reason does not exist or does not apply to devices.
        NotRevocable: the certificate was never active, or has expired.
    """
    parsed = parse_reason(reason)
    device = lock_device(certificate.device_id, allow_retired=True)
    row = DeviceCertificate.objects.get(pk=certificate.pk)
    if row.status == Status.REVOKED:
        if parsed == Reason.KEY_COMPROMISE != row.revocation_reason:
            row.revocation_reason, row.listed_at = parsed, None
            row.save(update_fields=["revocation_reason", "listed_at"])
            record([revoked(row, device, now)])
    elif row.status in (Status.ACTIVE, Status.SUPERSEDED):
        _revoke(row, device, parsed, now)
    else:
        raise NotRevocable(f"The certificate is {row.status}.")
    if parsed == Reason.KEY_COMPROMISE:
        others = DeviceCertificate.objects.accepted().of_device(device.pk)
        for other in others.filter(public_key_digest=row.public_key_digest):
            _revoke(other, device, parsed, now)
        _fail_pending(row.public_key_digest, device)
    return row


@transaction.atomic
def revoke_all_of_device(device_id: UUID, *, reason: str, now: datetime) -> int:
    """Revoke all certificates of a device. Return how many were revoked.

    Superseded certificates and certificates in their handover period are revoked too.

    Raises:
        InvalidReason: the reason does not exist or does not apply to devices.
    """
    parsed = parse_reason(reason)
    device = lock_device(device_id, allow_retired=True)
    rows = list(DeviceCertificate.objects.accepted().of_device(device_id))
    for row in rows:
        _revoke(row, device, parsed, now)
    DeviceCertificate.objects.pending().of_device(device_id).update(status=Status.FAILED)
    return len(rows)


def _fail_pending(public_key_digest: str, device: Device) -> None:
    """Mark a device's issuances in progress as failed if their key is compromised."""
    pending = DeviceCertificate.objects.pending().of_device(device.pk)
    pending.filter(public_key_digest=public_key_digest).update(status=Status.FAILED)


def parse_reason(text: str) -> Reason:
    """Parse a revocation reason such as `keyCompromise` or `key-compromise`.

    Case, hyphens, underscores and spaces are ignored.

    Raises:
        InvalidReason: the text is not a reason.
    """

    def normalised(value: str) -> str:
        return value.replace("_", "").replace("-", "").replace(" ", "").lower()

    for reason in Reason:
        if normalised(reason.value) == normalised(text):
            return reason
    accepted = ", ".join(Reason.values)
    raise InvalidReason(f"The reason must be one of: {accepted}.", field="reason")


def _revoke(row: DeviceCertificate, device: Device, reason: Reason, now: datetime) -> None:
    row.status, row.revoked_at, row.revocation_reason = Status.REVOKED, now, reason
    row.save(update_fields=["status", "revoked_at", "revocation_reason"])
    record([revoked(row, device, now)])
    issuance.restore_previous_certificate(device)
