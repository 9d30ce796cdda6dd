"""Forget the certificates of a tenant that is deleted, except what revocation lists need."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from certificates.models import DeviceCertificate
from certificates.models.forgotten import ForgottenRevocation
from certificates.services.device_certificates import DeviceCertificatesService

BATCH = 500

_REMEMBER = """
    INSERT INTO certificates_forgottenrevocation (
        authority_key_id, serial_number, revoked_at, revocation_reason, not_after,
        distribution_point_id
    )
    SELECT authority_key_id, serial_number, revoked_at, revocation_reason, not_after,
        distribution_point_id
    FROM certificates_devicecertificate
    WHERE id = ANY(%s::uuid[]) AND status = 'revoked' AND not_after > %s
    ON CONFLICT DO NOTHING
"""


def are_listed(tenant_id: UUID) -> bool:
    """Return whether all revoked certificates of a tenant are on their revocation lists."""
    unlisted = DeviceCertificate.objects.unlisted().filter(device__tenant=tenant_id)
    return not unlisted.exists()


def forget_batch(tenant_id: UUID, *, now: datetime) -> int:
    """Forget some certificates of a tenant, and delete the files of their devices.

    Returns:
        their number; 0 if none is left.
    """
    rows = DeviceCertificate.objects.filter(device__tenant=tenant_id).order_by("pk")
    found = list(rows.values_list("pk", "device_id", "serial_number")[:BATCH])
    store = DeviceCertificatesService().store
    for _, device_id, serial_number in found:
        for path in (
            store.key_of(device_id),
            store.certificate_of(device_id),
            store.staged / f"{serial_number}-key.pem",
            store.staged / f"{serial_number}-cert.pem",
        ):
            path.unlink(missing_ok=True)
    ids = [pk for pk, _, _ in found]
    with transaction.atomic():
        chosen = DeviceCertificate.objects.filter(pk__in=ids)
        DeviceCertificate.objects.filter(replaces__in=ids).update(replaces=None)
        with connection.cursor() as cursor:
            since = now - timedelta(hours=settings.CRL_REBUILD_HOURS)
            cursor.execute(_REMEMBER, [[str(pk) for pk in ids], since])
        chosen.delete()
    return len(ids)


def delete_old(*, now: datetime) -> int:
    """Delete what no revocation list needs any more. Return the number of rows."""
    before = now - timedelta(hours=2 * settings.CRL_VALIDITY_HOURS)
    return ForgottenRevocation.objects.filter(not_after__lt=before).delete()[0]
