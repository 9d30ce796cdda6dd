"""Handover from a certificate to its successor.

Both are valid until the device confirms the successor or the handover period ends.
"""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from certificates.errors import NoSuchCertificate, NotAcknowledgeable
from certificates.events import superseded
from certificates.models import DeviceCertificate
from certificates.pki import serials
from certificates.services.expirations import BATCH
from core.querysets import first_or_raise
from devices.registry.models import Device
from devices.registry.queries import lock_device
from events.services.outbox import record

Status = DeviceCertificate.Status
MAX_REMEMBERED = 50_000  # certificates in one process
_confirmed: set[tuple[UUID, str]] = set()


def acknowledge(*, device: Device, serial_number: str, now: datetime) -> DeviceCertificate:
    """Record that a device has received a certificate. Repeating the call has no effect.

    Raises:
        NoSuchCertificate: the device has no certificate with this serial number.
        NotAcknowledgeable: the certificate is expired or revoked.
    """
    normalised = serials.normalise(serial_number) or ""
    certificates = DeviceCertificate.objects.signed().of_device(device.pk)
    row = first_or_raise(certificates.filter(serial_number=normalised), NoSuchCertificate)
    if row.status not in (Status.ACTIVE, Status.SUPERSEDED):
        raise NotAcknowledgeable(f"The certificate is {row.status}.")
    return confirm(row, now=now)


def confirm_named(device: Device, serial_number: str, now: datetime) -> None:
    """Confirm the certificate that a device names when it connects, if it is not confirmed yet.

    Devices connect every minute, so each process remembers what is confirmed. A serial number
    of no active certificate of the device has no effect.
    """
    key = device.pk, serial_number
    if key in _confirmed:
        return
    normalised = serials.normalise(serial_number) or ""
    certificates = DeviceCertificate.objects.active().of_device(device.pk)
    row = certificates.filter(serial_number=normalised).first()
    if row is not None and row.confirmed_at is None:
        confirm(row, now=now)
    if len(_confirmed) >= MAX_REMEMBERED:
        _confirmed.clear()
    _confirmed.add(key)


@transaction.atomic
def confirm(certificate: DeviceCertificate, *, now: datetime) -> DeviceCertificate:
    """Record that a device uses a certificate, and supersede its earlier ones."""
    device = lock_device(certificate.device_id, allow_retired=True)
    certificates = DeviceCertificate.objects.of_device(device.pk)
    row = certificates.select_related("replaces").get(pk=certificate.pk)
    if row.status != Status.ACTIVE:
        return row
    if row.confirmed_at is None:
        row.confirmed_at = now
        row.save(update_fields=["confirmed_at"])
    earlier = certificates.filter(status=Status.ACTIVE, reserved_at__lte=row.reserved_at).exclude(
        pk=row.pk
    )
    _supersede(list(earlier), device, confirmed=True, now=now)
    return row


@transaction.atomic
def end_overdue_handovers(now: datetime) -> int:
    """Supersede up to `BATCH` certificates whose successor was not confirmed in time.

    Returns:
        How many were superseded.
    """
    due = DeviceCertificate.objects.past_handover(now).select_related("device")
    rows = list(due.select_for_update(skip_locked=True, of=("self",))[:BATCH])
    for row in rows:
        _supersede([row], row.device, confirmed=False, now=now)
    return len(rows)


def _supersede(
    rows: list[DeviceCertificate], device: Device, *, confirmed: bool, now: datetime
) -> None:
    DeviceCertificate.objects.filter(pk__in=[row.pk for row in rows]).update(
        status=Status.SUPERSEDED
    )
    record(superseded(row, device, now, confirmed=confirmed) for row in rows)
