"""The end of the trust in certificates, before their time."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from certificates.errors import InvalidReason, NotRevocable
from certificates.events import revoked
from certificates.models import DeviceCertificate
from certificates.services import issuance
from devices.registry.models import Device
from devices.registry.queries import hold
from events.services.outbox import record

Status = DeviceCertificate.Status
Reason = DeviceCertificate.Reason


@transaction.atomic
def revoke(
    certificate: DeviceCertificate, *, reason: str, now: datetime
) -> DeviceCertificate:
    """End the trust in a certificate; twice is once.

    One change is possible afterwards: to key compromise, since that is worse. Then
    the other certificates of the key end with it.

    Raises:
        InvalidReason: not one of RFC 5280's reasons for a device.
        NotRevocable: it was never in use, or is over.
    """
    parsed = reason_of(reason)
    device = hold(certificate.device_id, even_retired=True)
    row = DeviceCertificate.objects.get(pk=certificate.pk)
    if row.status == Status.REVOKED:
        if parsed == Reason.KEY_COMPROMISE != row.revocation_reason:
            row.revocation_reason, row.listed_at = parsed, None
            row.save(update_fields=["revocation_reason", "listed_at"])
            record([revoked(row, device, now)])
    elif row.status in (Status.ACTIVE, Status.SUPERSEDED):
        _end(row, device, parsed, now)
    else:
        raise NotRevocable(f"The certificate is {row.status}.")
    if parsed == Reason.KEY_COMPROMISE:
        twins = DeviceCertificate.objects.unended().of_device(device.pk)
        for twin in twins.filter(public_key_digest=row.public_key_digest):
            _end(twin, device, parsed, now)
        _give_up(row.public_key_digest, device)
    return row


@transaction.atomic
def revoke_all_of(device_id: UUID, *, reason: str, now: datetime) -> int:
    """End the trust in all that a device has, its handed over ones too; how many.

    Raises:
        InvalidReason: not one of RFC 5280's reasons for a device.
    """
    parsed = reason_of(reason)
    device = hold(device_id, even_retired=True)
    unended = list(DeviceCertificate.objects.unended().of_device(device_id))
    for row in unended:
        _end(row, device, parsed, now)
    DeviceCertificate.objects.pending().of_device(device_id).update(
        status=Status.FAILED
    )
    return len(unended)


def _give_up(public_key_digest: str, device: Device) -> None:
    """What is being signed for a compromised key just now must not be finished."""
    pending = DeviceCertificate.objects.pending().of_device(device.pk)
    pending.filter(public_key_digest=public_key_digest).update(status=Status.FAILED)


def reason_of(text: str) -> Reason:
    """One of RFC 5280's reasons, however its words are joined.

    Raises:
        InvalidReason: it is none of them.
    """

    def plain(word: str) -> str:
        return word.replace("_", "").replace("-", "").replace(" ", "").lower()

    for reason in Reason:
        if plain(reason.value) == plain(text):
            return reason
    known = ", ".join(Reason.values)
    raise InvalidReason(f"The reason must be one of: {known}.", field="reason")


def _end(row: DeviceCertificate, device: Device, reason: Reason, now: datetime) -> None:
    row.status, row.revoked_at, row.revocation_reason = Status.REVOKED, now, reason
    row.save(update_fields=["status", "revoked_at", "revocation_reason"])
    record([revoked(row, device, now)])
    issuance.take_back(device)
