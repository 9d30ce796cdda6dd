"""Prepared SQL statements of certificate issuance and other hot paths.

A whole fleet can be renewed at once, so issuance must be fast (`./run bench issuing`
measures it). No statement filters by tenant: callers pass ids of rows that they have
already loaded, or unique values.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from certificates.models import DeviceCertificate
from core.prepared_statements import PreparedStatement
from devices.registry.models import Device
from devices.registry.queries import DEVICE_COLUMNS, NEXT_STEPS_COLUMNS, device_with_steps
from tenants.context import current_tenant_id, every_tenant_scope

_CERTIFICATE = ("id", "device_id", "serial_number", "status", "confirmed_at")
_KEY_REFUSED = PreparedStatement(
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
_DEVICE_OF_KEY = PreparedStatement(
    "device_of_key",
    "varchar, uuid",
    """
    SELECT device_id FROM certificates_devicecertificate certificate
    JOIN devices_device device ON device.id = certificate.device_id
    WHERE public_key_digest = $1 AND device.tenant_id = $2 AND device.status <> 'retired'
        AND certificate.status <> 'failed' AND revocation_reason <> 'keyCompromise'
    LIMIT 1
    """,
)
_SIGNING_AUTHORITY = PreparedStatement(
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
_IN_USE = PreparedStatement(
    "certificate_in_use",
    "uuid",
    """
    SELECT id, serial_number FROM certificates_devicecertificate
    WHERE device_id = $1 AND status = 'active' AND handover_until IS NULL
    """,
)
_RESERVE = PreparedStatement(
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
_CERTIFICATE_AND_DEVICE = PreparedStatement(
    "certificate_and_device",
    "varchar",
    f"""
    SELECT {", ".join(f"certificate.{name}" for name in _CERTIFICATE)},
        {", ".join(f"device.{name}" for name in DEVICE_COLUMNS)},
        {", ".join(f"steps.{name}" for name in NEXT_STEPS_COLUMNS)},
        revision.number
    FROM certificates_devicecertificate certificate
    JOIN devices_device device ON device.id = certificate.device_id
    LEFT JOIN devices_nextsteps steps ON steps.device_id = device.id
    LEFT JOIN tenants_tenantrevision revision ON revision.tenant_id = device.tenant_id
    WHERE certificate.fingerprint = $1 AND certificate.fingerprint <> ''
    """,
)
_ACTIVE_OF_KEY = PreparedStatement(
    "active_certificate_of_key",
    "uuid, varchar",
    """
    SELECT id FROM certificates_devicecertificate
    WHERE device_id = $1 AND status = 'active' AND handover_until IS NULL
        AND public_key_digest = $2
    """,
)
_STATUS = PreparedStatement(
    "certificate_status",
    "varchar, varchar",
    """
    SELECT status, revoked_at, revocation_reason
    FROM certificates_devicecertificate
    WHERE authority_key_id = $1 AND serial_number = $2
    UNION ALL
    SELECT 'revoked', revoked_at, revocation_reason
    FROM certificates_forgottenrevocation
    WHERE authority_key_id = $1 AND serial_number = $2
    LIMIT 1
    """,
)
_START_HANDOVER = PreparedStatement(
    "certificate_hand_over",
    "uuid, timestamptz",
    """
    UPDATE certificates_devicecertificate SET handover_until = $2
    WHERE device_id = $1 AND status = 'active' AND handover_until IS NULL
    RETURNING id, serial_number
    """,
)
_ACTIVATE = PreparedStatement(
    "certificate_activate",
    "uuid, text, varchar, timestamptz, timestamptz, timestamptz, uuid",
    """
    UPDATE certificates_devicecertificate SET status = 'active', pem = $2,
        fingerprint = $3, not_before = $4, not_after = $5, issued_at = $6,
        replaces_id = $7
    WHERE id = $1 AND status = 'pending'
    """,
)


_REFUSAL_REASONS = {
    1: "The key belongs to another device, or was reported as compromised.",
    2: "The key belongs to a certificate authority or one of its responders.",
}


def device_of_key(digest: str) -> UUID | None:
    """Return the device of the current tenant that has or had a certificate for a key.

    Args:
        digest: SHA-256 of the SubjectPublicKeyInfo, hex.
    """
    row = _DEVICE_OF_KEY.fetch_one(digest, current_tenant_id())
    return None if row is None else row[0]


def key_refusal_reason(digest: str, *, for_devices: Iterable[UUID]) -> str | None:
    """Return why a device may not use a key; None if it may.

    A key is refused in three cases:
    - another device of any tenant has or had the key. Devices that are retired or in
      `for_devices` do not count;
    - the key was compromised;
    - a CA or OCSP responder signs with the key.

    A retired device may register again as a new device with its old key.

    Args:
        digest: SHA-256 of the SubjectPublicKeyInfo, hex.
    """
    with every_tenant_scope():
        row = _KEY_REFUSED.fetch_one(digest, list(for_devices))
    if row is None:
        return None
    return _REFUSAL_REASONS[row[0]]


def reserve(row: DeviceCertificate) -> None:
    """Insert a pending certificate. The effect is the same as that of `row.save()`.

    Raises:
        IntegrityError: the serial number is taken.
    """
    _RESERVE.execute(
        row.pk,
        row.device_id,
        row.serial_number,
        row.authority_key_id,
        DeviceCertificate.Status.PENDING.value,
        row.key_source,
        row.public_key_digest,
        row.reserved_at,
        row.replaces_id,
        row.distribution_point_id,
    )


def in_use(device_id: UUID) -> DeviceCertificate | None:
    """Return the device's active certificate. Only its id and serial number are loaded."""
    return _partial_certificate(_IN_USE.fetch_one(device_id))


def start_handover(device_id: UUID, *, until: datetime) -> DeviceCertificate | None:
    """Start the handover from the device's active certificate. The handover ends at `until`.

    Returns:
        The active certificate, with only its id and serial number loaded. None if the
        device has no active certificate.
    """
    return _partial_certificate(_START_HANDOVER.fetch_one(device_id, until))


def signing_authority(host: str, slot: int) -> tuple[int, str, int | None] | None:
    """Return the signing CA and the CRL shard for a host and slot.

    Returns:
        The CA's id, the CA's key identifier, and the shard's id (None if the shard does
        not exist yet). If there is no signing CA, None.
    """
    return _SIGNING_AUTHORITY.fetch_one(host, slot)


def certificate_and_device(fingerprint: str) -> tuple[DeviceCertificate, Device] | None:
    """Return the certificate with the given fingerprint, and its device with its next steps.

    Only the columns `_CERTIFICATE` of the certificate are loaded.
    """
    row = _CERTIFICATE_AND_DEVICE.fetch_one(fingerprint)
    if row is None:
        return None
    end = len(_CERTIFICATE)
    certificate = DeviceCertificate.from_db("default", _CERTIFICATE, row[:end])
    return certificate, device_with_steps(row[end:])


def active_certificate_of_key(device_id: UUID, public_key_digest: str) -> UUID | None:
    """Return the id of the device's certificate in use, if it has this key."""
    row = _ACTIVE_OF_KEY.fetch_one(device_id, public_key_digest)
    return None if row is None else row[0]


def status_of(authority_key_id: str, serial_number: str) -> tuple[str, datetime | None, str] | None:
    """Return the status, revocation time and revocation reason of a certificate.

    Args:
        authority_key_id: key identifier of the CA, hex.
    """
    row: tuple[str, datetime | None, str] | None
    row = _STATUS.fetch_one(authority_key_id, serial_number)
    return row


def activate(row: DeviceCertificate) -> bool:
    """Activate a reserved certificate after it was signed.

    Returns:
        False if the row is no longer pending. It then stays unchanged.
    """
    changed = _ACTIVATE.execute(
        row.pk,
        row.pem,
        row.fingerprint,
        row.not_before,
        row.not_after,
        row.issued_at,
        row.replaces_id,
    )
    return changed > 0


def _partial_certificate(row: tuple[Any, ...] | None) -> DeviceCertificate | None:
    if row is None:
        return None
    return DeviceCertificate.from_db("default", ("id", "serial_number"), row)
