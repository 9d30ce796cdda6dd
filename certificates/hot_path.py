"""The statements of every issuance, written out and prepared.

A fleet is renewed in one go, so an issuance is as frequent as it is careful
(`./run bench issuing` shows what this gains). All start from rows in hand.
"""

from uuid import UUID

from certificates.models import DeviceCertificate
from provisioning.prepared import Prepared

_KEY_ELSEWHERE = Prepared(
    "certificate_key_elsewhere",
    "varchar, uuid",
    """
    SELECT 1 FROM certificates_devicecertificate
    WHERE public_key_digest = $1 AND device_id <> $2 LIMIT 1
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
    "uuid, text, varchar, timestamptz, timestamptz, timestamptz",
    """
    UPDATE certificates_devicecertificate SET status = 'active', pem = $2,
        fingerprint = $3, not_before = $4, not_after = $5, issued_at = $6
    WHERE id = $1 AND status = 'pending'
    """,
)


def key_is_anothers(digest: str, device_id: UUID) -> bool:
    """Whether any other device ever had a certificate for this key."""
    return _KEY_ELSEWHERE.row(digest, device_id) is not None


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
    return _ACTIVATE.changes(row.pk, *signed) > 0
