"""The two transactions of an issuance; the signature is made between them.

Both hold the device's row, as revocation and retirement do, so that none slips past
another, and what they found before is looked at again under that lock.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, connection, transaction

from certificates import queries
from certificates.errors import IssuanceInterrupted, KeyInUse, NotRenewable
from certificates.events import issued_or_renewed
from certificates.models import DeviceCertificate
from certificates.services.device_certificates import Signed
from certificates.services.file_store import CertificateStore
from devices.registry import next_steps
from devices.registry.models import Device
from devices.registry.queries import hold
from events.services.outbox import record

Status = DeviceCertificate.Status
ABANDONED_AFTER = timedelta(minutes=2)  # no issuance takes so long


def reserve(row: DeviceCertificate) -> None:
    """Write the intent down and commit it: only then may something be signed.

    A row that names the certificate it replaces is a renewal.

    Raises:
        KeyInUse: another device has or had the key, or it was compromised.
        NotRenewable: what it renews is not in use, or is being renewed already.
        DeviceIsRetired: it is.
    """
    try:
        with transaction.atomic(durable=True):
            hold(row.device_id)
            if row.replaces_id is not None:
                _claim_renewal(row)
            if row.key_source == DeviceCertificate.KeySource.DEVICE:
                _claim_key(row)  # one that was made a moment ago is nobody's
            queries.reserve(row)
    except IntegrityError as error:
        raise NotRenewable("The certificate has a successor already.") from error


@transaction.atomic
def activate(
    row: DeviceCertificate,
    signed: Signed,
    *,
    store: CertificateStore,
    now: datetime,
    unless_newer: bool = False,
) -> DeviceCertificate:
    """Put a signed certificate in its place: files, record and event together.

    Args:
        unless_newer: give up when the device was issued another one meanwhile; for
            finishing what a crash left, not for an issuance under way.

    Raises:
        DeviceIsRetired: the device was retired meanwhile.
        IssuanceInterrupted: the reservation was given up, what it renews has ended,
            or there is a newer one.
    """
    device = hold(row.device_id)
    grace = timedelta(days=settings.HANDOVER_DAYS)
    current = queries.hand_over(device.pk, until=now + grace)
    renews = row.replaces_id is not None
    if renews and (current is None or current.pk != row.replaces_id):
        raise IssuanceInterrupted("What was to be renewed has ended meanwhile.")
    if unless_newer and _newer(row):
        raise IssuanceInterrupted("The device has a newer certificate.")
    row.replaces = current
    row.fill(signed.certificate)
    row.status, row.issued_at = Status.ACTIVE, now
    if not queries.activate(row):
        raise IssuanceInterrupted("The certificate was given up meanwhile.")
    record([issued_or_renewed(row, device, now, renewed=renews)])
    tell_at_connect(device, row)
    store.install(row.serial_number, device.pk, with_key=signed.key_made_here)
    return row


def bury(row: DeviceCertificate, *, store: CertificateStore) -> None:
    """Give a reservation up; its serial number is spent and nothing of it stays."""
    DeviceCertificate.objects.pending().filter(pk=row.pk).update(status=Status.FAILED)
    store.discard(row.serial_number)


def tell_at_connect(device: Device, row: DeviceCertificate | None) -> None:
    """Which certificate the device should hold: one it does not have waits for it."""
    window = timedelta(days=settings.AUTO_RENEWAL_DAYS)
    ends = row.not_after if row else None
    next_steps.write(
        device,
        certificate_serial_number=row.serial_number if row else None,
        certificate_issued_at=row.issued_at if row else None,
        certificate_renewal_due_at=ends - window if ends else None,
    )


def take_back(device: Device) -> None:
    """After a revocation: what was handed over to a revoked one is to be used again.

    Not one whose key the server made and its device never got: that key has made room
    for the next one's.
    """
    certificates = DeviceCertificate.objects.of_device(device.pk)
    if certificates.active().exists():
        return
    handed_over = certificates.filter(status=Status.ACTIVE)
    lost = handed_over.filter(
        key_source=DeviceCertificate.KeySource.SERVER, key_delivered_at__isnull=True
    )
    lost.update(status=Status.SUPERSEDED)
    beside: DeviceCertificate | None = handed_over.order_by("-reserved_at").first()
    if beside is not None:
        beside.handover_until = None
        beside.save(update_fields=["handover_until"])
    tell_at_connect(device, beside)


def _claim_key(row: DeviceCertificate) -> None:
    """See that no other device has this key; two that bring it at once take turns."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
            [row.public_key_digest],
        )
    why = queries.why_key_is_barred(row.public_key_digest, for_devices=[row.device_id])
    if why is not None:
        raise KeyInUse(why, field="csr")


def _claim_renewal(row: DeviceCertificate) -> None:
    current = queries.in_use(row.device_id)
    if current is None or current.pk != row.replaces_id:
        raise NotRenewable("The certificate is not in use any more.")
    under_way = DeviceCertificate.objects.pending().filter(
        replaces=current, reserved_at__gt=row.reserved_at - ABANDONED_AFTER
    )
    if under_way.exists():
        raise NotRenewable("The certificate is being renewed already.")


def _newer(row: DeviceCertificate) -> bool:
    signed = DeviceCertificate.objects.signed().of_device(row.device_id)
    return signed.filter(reserved_at__gt=row.reserved_at).exists()
