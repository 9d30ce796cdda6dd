"""The two transactions of an issuance: reserve before signing, activate after it.

Both transactions lock the device's row, as revocation and retirement do, so that these
operations never overlap. Everything checked earlier is checked again under the lock.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction

from certificates import queries
from certificates.errors import IssuanceInterrupted, KeyInUse, NotRenewable
from certificates.events import issued_or_renewed
from certificates.models import DeviceCertificate
from certificates.services.device_certificates import Signed
from certificates.services.file_store import CertificateStore
from core.locks import transaction_lock
from devices.registry import next_steps
from devices.registry.models import Device
from devices.registry.queries import lock_device
from events.services.outbox import record

Status = DeviceCertificate.Status
ABANDONED_AFTER = timedelta(minutes=2)  # no issuance takes this long


def reserve(row: DeviceCertificate) -> None:
    """Insert a pending certificate and commit it. Only then may it be signed.

    A row with `replaces` is a renewal.

    Raises:
        KeyInUse: another device has or had the key, the key was compromised, or it belongs
            to a CA or an OCSP responder.
        NotRenewable: the certificate to renew is not in use, or is being renewed.
        DeviceIsRetired: the device is retired.
    """
    try:
        with transaction.atomic(durable=True):
            lock_device(row.device_id)
            if row.replaces_id is not None:
                _check_renewable(row)
            # A key that the server has just generated cannot be in use.
            if row.key_source == DeviceCertificate.KeySource.DEVICE:
                _check_key(row)
            queries.reserve(row)
    except IntegrityError as error:
        raise NotRenewable("The certificate already has a successor.") from error


@transaction.atomic
def activate(
    row: DeviceCertificate,
    signed: Signed,
    *,
    store: CertificateStore,
    now: datetime,
    unless_newer: bool = False,
) -> DeviceCertificate:
    """Activate a signed certificate: write its record, files and event in one transaction.

    Args:
        unless_newer: whether to refuse if the device has been issued another certificate
            since the reservation. Used to finish issuances that a crash interrupted.

    Raises:
        DeviceIsRetired: the device was retired meanwhile.
        IssuanceInterrupted: the reservation is no longer pending, the certificate to
            renew has ended, or there is a newer certificate.
    """
    device = lock_device(row.device_id)
    grace = timedelta(days=settings.HANDOVER_DAYS)
    current = queries.start_handover(device.pk, until=now + grace)
    is_renewal = row.replaces_id is not None
    if is_renewal and (current is None or current.pk != row.replaces_id):
        raise IssuanceInterrupted("The certificate to renew was revoked or replaced meanwhile.")
    if unless_newer and _has_newer(row):
        raise IssuanceInterrupted("The device has a newer certificate.")
    row.replaces = current
    row.set_certificate(signed.certificate)
    row.status, row.issued_at = Status.ACTIVE, now
    if not queries.activate(row):
        raise IssuanceInterrupted("The issuance was cancelled meanwhile.")
    record([issued_or_renewed(row, device, now, renewed=is_renewal)])
    _set_next_steps(device, row)
    store.install(row.serial_number, device.pk, with_key=signed.key_made_here)
    return row


def bury(row: DeviceCertificate, *, store: CertificateStore) -> None:
    """Mark a reservation as failed and remove its files.

    Its serial number is not used again. A row that is not pending stays as it is.
    """
    DeviceCertificate.objects.pending().filter(pk=row.pk).update(status=Status.FAILED)
    store.discard(row.serial_number)


def restore_previous_certificate(device: Device) -> None:
    """Put the previous certificate in use again after its successor was revoked.

    A certificate cannot be restored if the server generated its key and never delivered it,
    because the successor's key has overwritten the key file. Such a certificate becomes
    superseded.
    """
    certificates = DeviceCertificate.objects.of_device(device.pk)
    if certificates.active().exists():
        return
    in_handover = certificates.filter(status=Status.ACTIVE)
    without_key = in_handover.filter(
        key_source=DeviceCertificate.KeySource.SERVER, key_delivered_at__isnull=True
    )
    without_key.update(status=Status.SUPERSEDED)
    previous = in_handover.order_by("-reserved_at").first()
    if previous is not None:
        previous.handover_until = None
        previous.save(update_fields=["handover_until"])
    _set_next_steps(device, previous)


def _set_next_steps(device: Device, row: DeviceCertificate | None) -> None:
    """Set the certificate that the `connect` response tells the device to use."""
    window = timedelta(days=settings.AUTO_RENEWAL_DAYS)
    not_after = row.not_after if row else None
    next_steps.write(
        device,
        certificate_serial_number=row.serial_number if row else None,
        certificate_issued_at=row.issued_at if row else None,
        certificate_renewal_due_at=not_after - window if not_after else None,
    )


def _check_key(row: DeviceCertificate) -> None:
    """Check that the device may use the key. Concurrent checks of one key are serialised."""
    transaction_lock(row.public_key_digest)
    reason = queries.key_refusal_reason(row.public_key_digest, for_devices=[row.device_id])
    if reason is not None:
        raise KeyInUse(reason, field="csr")


def _check_renewable(row: DeviceCertificate) -> None:
    current = queries.in_use(row.device_id)
    if current is None or current.pk != row.replaces_id:
        raise NotRenewable("The certificate is no longer in use.")
    in_progress = DeviceCertificate.objects.pending().filter(
        replaces=current, reserved_at__gt=row.reserved_at - ABANDONED_AFTER
    )
    if in_progress.exists():
        raise NotRenewable("The certificate is already being renewed.")


def _has_newer(row: DeviceCertificate) -> bool:
    signed = DeviceCertificate.objects.signed().of_device(row.device_id)
    return signed.filter(reserved_at__gt=row.reserved_at).exists()
