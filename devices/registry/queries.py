"""The statements of the hottest requests, written out and prepared.

Every device connects every minute (`./run bench connect` shows what this gains). They
name their tenant, as the managers would, or start from a credential or a row in hand.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from core.prepared_statements import Prepared
from devices.registry.errors import DeviceIsRetired, NoSuchDevice
from devices.registry.identifiers import Identifier
from devices.registry.models import Device, EnrollmentToken, NextSteps
from tenants.context import current_tenant_id

DEVICE = tuple(field.attname for field in Device._meta.concrete_fields)
STEPS = tuple(field.attname for field in NextSteps._meta.concrete_fields)
_ENROLLMENT = tuple(field.attname for field in EnrollmentToken._meta.concrete_fields)

_DEVICE_OF_TOKEN = Prepared(
    "device_of_token",
    "varchar",
    f"""
    SELECT token.digest,
        {", ".join(f"device.{name}" for name in DEVICE)},
        {", ".join(f"steps.{name}" for name in STEPS)}
    FROM devices_devicetoken token
    JOIN devices_device device ON device.id = token.device_id
    LEFT JOIN devices_nextsteps steps ON steps.device_id = token.device_id
    WHERE token.digest = $1
    """,
)
_ENROLLMENT_TOKEN = Prepared(
    "enrollment_token",
    "varchar, timestamptz",
    f"""
    SELECT {", ".join(_ENROLLMENT)} FROM devices_enrollmenttoken
    WHERE digest = $1 AND revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > $2)
    """,
)
_KNOWN_BY = Prepared(
    "devices_known_by",
    "uuid, varchar[], varchar[]",
    """
    SELECT DISTINCT device_id FROM devices_deviceidentifier
    WHERE tenant_id = $1 AND released_at IS NULL
        AND (kind, value) IN (SELECT * FROM unnest($2, $3))
    ORDER BY device_id
    """,
)
_SEEN_WHILE_ONLINE = Prepared(
    "seen_while_online",
    "timestamptz, uuid, uuid",
    """
    UPDATE devices_device SET last_seen = $1
    WHERE id = $2 AND tenant_id = $3 AND status = 'online'
    """,
)
_HOLD = Prepared(
    "hold_device",
    "uuid",
    f"SELECT {', '.join(DEVICE)} FROM devices_device WHERE id = $1 FOR NO KEY UPDATE",
)


def device_of_token(digest: str) -> tuple[str, Device] | None:
    """The stored digest, and the device whose token has it, with its next steps."""
    row = _DEVICE_OF_TOKEN.row(digest)
    if row is None:
        return None
    return row[0], device_with_steps(row[1:])


def device_with_steps(columns: Sequence[Any]) -> Device:
    """A device from the columns `DEVICE`, then `STEPS`, which are null if it has none."""
    end = len(DEVICE)
    device = Device.from_db("default", DEVICE, columns[:end])
    announced = columns[end + STEPS.index("device_id")] is not None
    steps = NextSteps.from_db("default", STEPS, columns[end:]) if announced else None
    device._state.fields_cache["next_steps"] = steps
    return device


def enrollment_token(digest: str, *, now: datetime) -> EnrollmentToken | None:
    """The enrollment token with this digest, unless it is revoked or expired."""
    row = _ENROLLMENT_TOKEN.row(digest, now)
    if row is None:
        return None
    return EnrollmentToken.from_db("default", _ENROLLMENT, row)


def devices_known_by(identifiers: Iterable[Identifier]) -> list[UUID]:
    """The current tenant's living devices that hold any of these identifiers."""
    kinds, values = zip(*((item.kind, item.value) for item in identifiers), strict=True)
    rows = _KNOWN_BY.rows(current_tenant_id(), list(kinds), list(values))
    return [device_id for (device_id,) in rows]


def seen_while_online(device: Device, *, now: datetime) -> bool:
    """Note a sign of life of a device that is still online; say whether it was."""
    return _SEEN_WHILE_ONLINE.changes(now, device.pk, device.tenant_id) > 0


def hold(device_id: UUID, *, even_retired: bool = False) -> Device:
    """Lock a device's row until the transaction ends, whoever's it is.

    Whatever ends or renews something of a device holds its row first, so that none
    slips past another. Connects wait for it, so it is held for moments only.

    Raises:
        NoSuchDevice: there is none with this id.
        DeviceIsRetired: it is; what has ended is not changed any more.
    """
    row = _HOLD.row(device_id)
    if row is None:
        raise NoSuchDevice
    device = Device.from_db("default", DEVICE, row)
    if device.status == Device.Status.RETIRED and not even_retired:
        raise DeviceIsRetired
    return device
