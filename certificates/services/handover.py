"""From one certificate to its successor: both are good until the device has the new one."""

from datetime import datetime

from django.db import transaction

from certificates.errors import NoSuchCertificate, NotAcknowledgeable
from certificates.events import superseded
from certificates.models import DeviceCertificate
from certificates.pki import serials
from certificates.services.expirations import BATCH
from devices.registry.models import Device
from devices.registry.queries import hold
from events.services.outbox import record

Status = DeviceCertificate.Status


def acknowledge(
    *, device: Device, serial_number: str, now: datetime
) -> DeviceCertificate:
    """The device says that it holds a certificate; repeated, it changes nothing.

    Raises:
        NoSuchCertificate: the device has none with this serial number.
        NotAcknowledgeable: it has ended.
    """
    written = serials.normalise(serial_number) or ""
    of_device = DeviceCertificate.objects.signed().of_device(device.pk)
    row = of_device.filter(serial_number=written).first()
    if row is None:
        raise NoSuchCertificate
    if row.status not in (Status.ACTIVE, Status.SUPERSEDED):
        raise NotAcknowledgeable(f"The certificate is {row.status}.")
    return confirm(row, now=now)


@transaction.atomic
def confirm(certificate: DeviceCertificate, *, now: datetime) -> DeviceCertificate:
    """A device used a certificate, or acknowledged it: those before it are superseded."""
    device = hold(certificate.device_id, even_retired=True)
    of_device = DeviceCertificate.objects.of_device(device.pk)
    row = of_device.select_related("replaces").get(pk=certificate.pk)
    if row.status != Status.ACTIVE:
        return row
    if row.confirmed_at is None:
        row.confirmed_at = now
        row.save(update_fields=["confirmed_at"])
    before = of_device.filter(
        status=Status.ACTIVE, reserved_at__lte=row.reserved_at
    ).exclude(pk=row.pk)
    _supersede(list(before), device, confirmed=True, now=now)
    return row


@transaction.atomic
def end_some(now: datetime) -> int:
    """Supersede a batch of those whose successor nobody confirmed in time; how many."""
    over = DeviceCertificate.objects.handed_over(now).select_related("device")
    rows = list(over.select_for_update(skip_locked=True, of=("self",))[:BATCH])
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
