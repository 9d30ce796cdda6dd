"""The statements of every issuance, written out and prepared.

A fleet is renewed in one go, so an issuance is as frequent as it is careful
(`./run bench issuing` shows what this gains). All start from rows in hand.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from certificates.models import DeviceCertificate
from core.prepared_statements import Prepared
from devices.registry.models import Device
from devices.registry.queries import DEVICE, STEPS, device_with_steps
from tenants.context import every_tenant_scope

_CERTIFICATE = ("id", "device_id", "serial_number", "status", "confirmed_at")
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
    )
    UNION ALL
    SELECT 2 FROM certificates_certificateauthority WHERE public_key_digest = $1
    UNION ALL
    SELECT 2 FROM certificates_responder WHERE public_key_digest = $1
    LIMIT 1
    """,
)
_SIGNING_PLACE = Prepared(
    "certificate_signing_place",
    "varchar, integer",
    """
    SELECT authority.id, authority.key_identifier, list.id
    FROM certificates_certificateauthority authority
    LEFT JOIN certificates_revocationlist list
        ON list.authority_id = authority.id AND list.host = $1 AND list.slot = $2
    WHERE authority.status = 'signing'
    """,
)
_IN_USE = Prepared(
    "certificate_in_use",
    "uuid",
    """
    SELECT id, serial_number FROM certificates_devicecertificate
    WHERE device_id = $1 AND status = 'active' AND handover_until IS NULL
    """,
)
_RESERVE = Prepared(
    "certificate_reserve",
    "uuid, uuid, varchar, varchar, varchar, varchar, varchar, timestamptz, uuid, bigint",
    """
    INSERT INTO certificates_devicecertificate (
        id, device_id, serial_number, authority_key_id, status, key_source,
        public_key_digest, reserved_at, replaces_id, distribution_point_id,
        fingerprint, pem, revocation_reason, renewal_attempts
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', '', '', 0)
    """,
)
_AND_DEVICE = Prepared(
    "certificate_and_device",
    "varchar",
    f"""
    SELECT {", ".join(f"certificate.{name}" for name in _CERTIFICATE)},
        {", ".join(f"device.{name}" for name in DEVICE)},
        {", ".join(f"steps.{name}" for name in STEPS)}
    FROM certificates_devicecertificate certificate
    JOIN devices_device device ON device.id = certificate.device_id
    LEFT JOIN devices_nextsteps steps ON steps.device_id = device.id
    WHERE certificate.fingerprint = $1 AND certificate.fingerprint <> ''
    """,
)
_STATUS = Prepared(
    "certificate_status",
    "varchar, varchar",
    """
    SELECT status, revoked_at, revocation_reason
    FROM certificates_devicecertificate
    WHERE authority_key_id = $1 AND serial_number = $2
    """,
)
_HAND_OVER = Prepared(
    "certificate_hand_over",
    "uuid, timestamptz",
    """
    UPDATE certificates_devicecertificate SET handover_until = $2
    WHERE device_id = $1 AND status = 'active' AND handover_until IS NULL
    RETURNING id, serial_number
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


_WHOSE = {
    1: "The key is another device's, or was reported compromised.",
    2: "This key is the certificate authority's own.",
}


def why_key_is_barred(digest: str, *, for_devices: Iterable[UUID]) -> str | None:
    """Why a device may not have a key; None when it may.

    It may not if another living device, of any tenant, has or had it, if it leaked, or
    if an authority signs with it. A box that was retired may come back as a new device
    with the key it has always had.
    """
    with every_tenant_scope():
        row = _KEY_BARRED.row(digest, list(for_devices))
    if row is None:
        return None
    return _WHOSE[row[0]]


def reserve(row: DeviceCertificate) -> None:
    """Write a reservation down, as `save` would.

    Raises:
        IntegrityError: its serial number is taken.
    """
    status = DeviceCertificate.Status.PENDING.value
    about = (row.serial_number, row.authority_key_id, status, row.key_source)
    of_key = (row.public_key_digest, row.reserved_at, row.replaces_id)
    _RESERVE.changes(row.pk, row.device_id, *about, *of_key, row.distribution_point_id)


def in_use(device_id: UUID) -> DeviceCertificate | None:
    """The device's active certificate, with its id and serial number only."""
    return _in_part(_IN_USE.row(device_id))


def hand_over(device_id: UUID, *, until: datetime) -> DeviceCertificate | None:
    """The device's active certificate has a successor, and stands beside it till then.

    Returns it, with its id and serial number only; None when there was none.
    """
    return _in_part(_HAND_OVER.row(device_id, until))


def signing_place(host: str, slot: int) -> tuple[int, str, int | None] | None:
    """The authority that signs (id, key identifier), and the id of a shard, if it is open."""
    row: tuple[int, str, int | None] | None = _SIGNING_PLACE.row(host, slot)
    return row


def certificate_and_device(fingerprint: str) -> tuple[DeviceCertificate, Device] | None:
    """A certificate (in part) by its fingerprint, and its device with its next steps."""
    row = _AND_DEVICE.row(fingerprint)
    if row is None:
        return None
    end = len(_CERTIFICATE)
    certificate = DeviceCertificate.from_db("default", _CERTIFICATE, row[:end])
    return certificate, device_with_steps(row[end:])


def status_of(
    authority_key_id: str, serial_number: str
) -> tuple[str, datetime | None, str] | None:
    """Status, revocation time and reason of what an authority signed under this number."""
    row: tuple[str, datetime | None, str] | None
    row = _STATUS.row(authority_key_id, serial_number)
    return row


def activate(row: DeviceCertificate) -> bool:
    """Compare and set: a pending reservation takes over what was signed for it."""
    signed = (row.pem, row.fingerprint, row.not_before, row.not_after, row.issued_at)
    return _ACTIVATE.changes(row.pk, *signed, row.replaces_id) > 0


def _in_part(row: tuple[Any, ...] | None) -> DeviceCertificate | None:
    if row is None:
        return None
    return DeviceCertificate.from_db("default", ("id", "serial_number"), row)
