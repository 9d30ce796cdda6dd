"""The statements of every issuance, written out and prepared.

A fleet is renewed in one go, so an issuance is as frequent as it is careful
(`./run bench issuing` shows what this gains). All start from rows in hand.
"""

from collections.abc import Iterable
from uuid import UUID

from certificates.models import DeviceCertificate
from provisioning.prepared import Prepared
from tenants.context import every_tenant_scope

_KEY_BARRED = Prepared(
    "certificate_key_barred",
    "varchar, uuid[]",
    """
    SELECT 1 FROM certificates_devicecertificate certificate
    JOIN devices_device device ON device.id = certificate.device_id
    WHERE public_key_digest = $1 AND (
        revocation_reason = 'keyCompromise'
        OR device_id <> ALL($2) AND device.status <> 'retired'
            AND certificate.status <> 'failed'
    ) LIMIT 1
    """,
)
_IN_USE = Prepared(
    "certificate_in_use",
    "uuid",
    """
    SELECT id, serial_number FROM certificates_devicecertificate
    WHERE device_id = $1 AND status = 'active'
    """,
)
_SUPERSEDE = Prepared(
    "certificate_supersede",
    "uuid",
    """
    UPDATE certificates_devicecertificate SET status = 'superseded'
    WHERE device_id = $1 AND status = 'active'
    """,
)
_ACTIVATE = Prepared(
    "certificate_activate",
    "uuid, text, varchar, timestamptz, timestamptz, timestamptz, uuid",
    """
    UPDATE certificates_devicecertificate SET status = 'active', pem = $2,
        fingerprint = $3, not_before = $4, not_after = $5, issued_at = $6,
        replaces_id = $7
    WHERE id = $1 AND status = 'pending'
    """,
)


def key_is_barred(digest: str, *, for_devices: Iterable[UUID]) -> bool:
    """Whether another living device, of any tenant, has or had this key, or it leaked.

    A box that was retired may come back as a new device with the key it has always had.
    """
    with every_tenant_scope():
        return _KEY_BARRED.row(digest, list(for_devices)) is not None


def in_use(device_id: UUID) -> DeviceCertificate | None:
    """The device's active certificate, with its id and serial number only."""
    row = _IN_USE.row(device_id)
    if row is None:
        return None
    return DeviceCertificate.from_db("default", ("id", "serial_number"), row)


def supersede(device_id: UUID) -> None:
    """The device's active certificate is so no longer."""
    _SUPERSEDE.changes(device_id)


def activate(row: DeviceCertificate) -> bool:
    """Compare and set: a pending reservation takes over what was signed for it."""
    signed = (row.pem, row.fingerprint, row.not_before, row.not_after, row.issued_at)
    return _ACTIVATE.changes(row.pk, *signed, row.replaces_id) > 0
