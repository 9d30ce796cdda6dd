"""Removal of server-generated keys that were delivered or whose certificate was revoked."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from certificates.models import DeviceCertificate
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.services.file_comparison import key_digest
from certificates.services.file_store import PUBLIC, CertificateStore, write
from devices.registry.queries import lock_device


@transaction.atomic
def remove_delivered_key(row: DeviceCertificate, store: CertificateStore) -> bool:
    """Remove a delivered key from the server, unless a later key has replaced it.

    Returns:
        True if the key was removed.
    """
    lock_device(row.device_id, allow_retired=True)
    path = store.key_of(row.device_id)
    if key_digest(path) != row.public_key_digest:
        return False
    path.unlink(missing_ok=True)
    return True


def remove_delivered_keys(store: CertificateStore, *, since: datetime) -> int:
    """Remove keys that were delivered at or after `since` but not removed because of a crash.

    Returns:
        How many keys were removed.
    """
    delivered = DeviceCertificate.objects.filter(key_delivered_at__gte=since)
    remaining = [row for row in delivered.iterator() if store.key_of(row.device_id).exists()]
    return sum(remove_delivered_key(row, store) for row in remaining)


@transaction.atomic
def destroy_revoked_key(*, device_id: UUID, serial_number: str) -> None:
    """Remove the server-generated key of a revoked certificate, unless it was replaced.

    If the device has another certificate in use, write that certificate to the device's
    certificate file.
    """
    lock_device(device_id, allow_retired=True)
    revoked = DeviceCertificate.objects.of_device(device_id).filter(
        serial_number=serial_number, status=DeviceCertificate.Status.REVOKED
    )
    store = DeviceCertificatesService().store
    path = store.key_of(device_id)
    for row in revoked:
        if key_digest(path) == row.public_key_digest:
            path.unlink(missing_ok=True)
    in_use = DeviceCertificate.objects.active().of_device(device_id).first()
    if in_use is not None:  # revocation restored the previous certificate
        write(store.certificate_of(device_id), in_use.pem.encode(), mode=PUBLIC)
