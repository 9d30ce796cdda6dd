"""Prepared SQL statements of the most frequent requests.

Prepared statements save time in each request, and every device connects every minute.
`./run bench connect` measures the savings. Each statement filters by tenant, as the model
managers do, or selects by a credential or an id.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from core.model_rows import build
from core.prepared_statements import PreparedStatement
from devices.registry.errors import DeviceIsRetired, DeviceNotFound
from devices.registry.identifiers import Identifier
from devices.registry.models import Device, EnrollmentToken, NextSteps
from tenants.context import current_tenant_id

DEVICE_COLUMNS = tuple(field.attname for field in Device._meta.concrete_fields)
NEXT_STEPS_COLUMNS = tuple(field.attname for field in NextSteps._meta.concrete_fields)
_END_OF_TABLE = "(4294967295,0)"  # larger than any place
_BLOCKS = 16_384  # of a range, 128 MB
_ENROLLMENT = tuple(field.attname for field in EnrollmentToken._meta.concrete_fields)

_DEVICE_OF_TOKEN = PreparedStatement(
    "device_of_token",
    "varchar",
    f"""
    SELECT token.digest,
        {", ".join(f"device.{name}" for name in DEVICE_COLUMNS)},
        {", ".join(f"steps.{name}" for name in NEXT_STEPS_COLUMNS)},
        revision.number
    FROM devices_devicetoken token
    JOIN devices_device device ON device.id = token.device_id
    LEFT JOIN devices_nextsteps steps ON steps.device_id = token.device_id
    LEFT JOIN tenants_tenantrevision revision ON revision.tenant_id = device.tenant_id
    WHERE token.digest = $1
    """,
)
# There is no index on last_seen, which would make each connect more expensive. The CTE is
# materialized, because a subquery under IN may be executed again for each row and then return
# other rows.
_MARK_SILENT_OFFLINE = PreparedStatement(
    "mark_silent_offline",
    "varchar, varchar, timestamptz, tid, tid, int",
    """
    WITH silent AS MATERIALIZED (
        SELECT id FROM devices_device
        WHERE status = $1 AND last_seen < $3 AND ctid >= $4 AND ctid < $5
        LIMIT $6 FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE devices_device AS device SET status = $2
    FROM silent WHERE device.id = silent.id
    RETURNING device.id, device.tenant_id, device.last_seen
    """,
)
_ENROLLMENT_TOKEN = PreparedStatement(
    "enrollment_token",
    "varchar, timestamptz",
    f"""
    SELECT {", ".join(_ENROLLMENT)} FROM devices_enrollmenttoken
    WHERE digest = $1 AND revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > $2)
    """,
)
_KNOWN_IDENTIFIERS = PreparedStatement(
    "known_identifiers",
    "uuid, varchar[], varchar[], uuid",
    """
    WITH reported AS (SELECT * FROM unnest($2, $3) AS item (kind, value)),
    holder AS (
        SELECT device_id FROM devices_deviceidentifier
        WHERE tenant_id = $1 AND released_at IS NULL
            AND (kind, value) IN (SELECT kind, value FROM reported)
        UNION SELECT id FROM devices_device
        WHERE id = $4 AND tenant_id = $1 AND status <> 'retired'
    )
    SELECT holder.device_id, identifier.kind, identifier.value
    FROM holder LEFT JOIN devices_deviceidentifier identifier
        ON identifier.device_id = holder.device_id AND identifier.released_at IS NULL
    UNION ALL
    SELECT NULL, conflict.kind, conflict.value
    FROM devices_identifierconflict conflict JOIN reported USING (kind, value)
    WHERE conflict.tenant_id = $1 AND conflict.decision = 'different'
    """,
)
_UPDATE_LAST_SEEN = PreparedStatement(
    "update_last_seen",
    "timestamptz, uuid, uuid, bigint",
    """
    UPDATE devices_device SET last_seen = $1, report_number = COALESCE($4, report_number)
    WHERE id = $2 AND tenant_id = $3 AND status = 'online'
    """,
)
_LOCK_DEVICE = PreparedStatement(
    "lock_device",
    "uuid",
    f"SELECT {', '.join(DEVICE_COLUMNS)} FROM devices_device WHERE id = $1 FOR NO KEY UPDATE",
)


def device_of_token(digest: str) -> tuple[str, Device] | None:
    """Return the stored digest of a device token, and the token's device with its next steps."""
    row = _DEVICE_OF_TOKEN.fetch_one(digest)
    if row is None:
        return None
    return row[0], device_with_steps(row[1:])


def device_with_steps(
    columns: Sequence[Any], device_columns: Sequence[str] = DEVICE_COLUMNS
) -> Device:
    """Build a device with its next steps from a row of a query result.

    Args:
        columns: the values of `device_columns`, followed by the values of
            `NEXT_STEPS_COLUMNS`, and the tenant's revision. The next steps and the revision
            are None if there is no row.
        device_columns: the other columns of the device are deferred.
    """
    end = len(device_columns)
    device = build(Device, device_columns, columns[:end])
    has_steps = columns[end + NEXT_STEPS_COLUMNS.index("device_id")] is not None
    steps = build(NextSteps, NEXT_STEPS_COLUMNS, columns[end:-1]) if has_steps else None
    device._state.fields_cache["next_steps"] = steps
    device.tenant_revision = columns[-1] or 0
    return device


def bridged_device(device_id: UUID) -> Device | None:
    """Return a device of any tenant that accepts MQTT, with its next steps.

    The broker has checked its certificate when it connected.
    """
    devices = Device.every_tenant.not_retired().filter(pk=device_id, tenant__accepts_mqtt=True)
    return devices.select_related("next_steps").first()


def enrollment_token(digest: str, *, now: datetime) -> EnrollmentToken | None:
    """Return the enrollment token with this digest, unless it is revoked or expired."""
    row = _ENROLLMENT_TOKEN.fetch_one(digest, now)
    if row is None:
        return None
    return EnrollmentToken.from_db("default", _ENROLLMENT, row)


@dataclass(frozen=True, slots=True)
class KnownIdentifiers:
    """What the current tenant knows about reported identifiers."""

    of_device: dict[UUID, set[Identifier]]  # all identifiers of each device that holds one
    shared: set[Identifier]  # values that belong to several devices, as a member has decided


def known_identifiers(
    identifiers: Iterable[Identifier], *, key_holder: UUID | None
) -> KnownIdentifiers:
    """Return the devices of the current tenant that hold any of the identifiers.

    Retired devices are omitted, because their identifiers are released.

    Args:
        key_holder: a device that is included in any case.
    """
    kinds, values = zip(*((item.kind, item.value) for item in identifiers), strict=True)
    rows = _KNOWN_IDENTIFIERS.fetch_all(current_tenant_id(), list(kinds), list(values), key_holder)
    known = KnownIdentifiers({}, set())
    for device_id, kind, value in rows:
        if device_id is None:
            known.shared.add(Identifier(kind, value))
            continue
        held = known.of_device.setdefault(device_id, set())
        if kind is not None:
            held.add(Identifier(kind, value))
    return known


def update_last_seen_if_online(
    device: Device, *, now: datetime, report_number: int | None = None
) -> bool:
    """Set `last_seen` of a device if it is online. Return True if it is online.

    Args:
        report_number: the number of the device's report; None leaves the stored number.
    """
    return _UPDATE_LAST_SEEN.execute(now, device.pk, device.tenant_id, report_number) > 0


def lock_device(device_id: UUID, *, allow_retired: bool = False) -> Device:
    """Lock the row of a device of any tenant until the transaction ends.

    Operations that change a device or its credentials lock the row first, so that
    concurrent operations run one after the other. Connects wait for the lock, so keep the
    transaction short.

    Args:
        allow_retired: if True, a retired device is returned too.

    Raises:
        DeviceNotFound: no device has this id.
        DeviceIsRetired: the device is retired and `allow_retired` is false.
    """
    row = _LOCK_DEVICE.fetch_one(device_id)
    if row is None:
        raise DeviceNotFound
    device = Device.from_db("default", DEVICE_COLUMNS, row)
    if device.status == Device.Status.RETIRED and not allow_retired:
        raise DeviceIsRetired
    return device


def device_ranges() -> list[tuple[str, str]]:
    """Return ranges of the table of devices, from one physical place up to another."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_relation_size('devices_device') / current_setting('block_size')::int"
        )
        (size,) = cursor.fetchone()
    starts = [f"({block},0)" for block in range(0, max(size, 1), _BLOCKS)]
    return list(zip(starts, [*starts[1:], _END_OF_TABLE], strict=True))


def mark_silent_offline(
    range_: tuple[str, str], *, since: datetime, limit: int
) -> list[tuple[UUID, UUID, datetime]]:
    """Set silent devices of all tenants offline. Devices that are locked are skipped.

    Args:
        range_: one of `device_ranges`.
        since: devices that were last seen before are silent.
        limit: the largest number of devices.

    Returns:
        Device id, tenant id and `last_seen` of each device.
    """
    online, offline = Device.Status.ONLINE.value, Device.Status.OFFLINE.value
    rows: list[Any] = _MARK_SILENT_OFFLINE.fetch_all(online, offline, since, *range_, limit)
    return rows
