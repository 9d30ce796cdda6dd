"""Write `NextSteps`, the rows from which `connect` responses are built.

Call the functions of this module in the transaction that changes the data behind the next
steps. Bulk writes lock rows in the order of the device ids, so that concurrent writes cannot
deadlock.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import connection

from core.prepared_statements import PreparedStatement
from devices.registry.models import Device, NextSteps
from tenants.context import current_tenant_id

_FIELDS = {field.attname: field for field in NextSteps._meta.concrete_fields}


def write(device: Device, **columns: Any) -> None:
    """Set columns of a device's `NextSteps` row. Insert the row if it is missing."""
    values = {name: field.get_default() for name, field in _FIELDS.items()} | columns
    values |= {"device_id": device.pk, "tenant_id": device.tenant_id}
    _upsert(tuple(columns)).execute(*(values[name] for name in _FIELDS))


def write_configurations(versions: Mapping[UUID, tuple[str, datetime | None]]) -> None:
    """Set the configuration versions of the current tenant's devices.

    Args:
        versions: a pair by device id. The pair is the new version and the time since which the
            device has been waiting for the version. The time is None if the device
            has the version already. A device that is already waiting keeps its earlier time.
    """
    _execute(
        """
        INSERT INTO devices_nextsteps (
            tenant_id, device_id, configuration_version, configuration_waiting_since
        )
        SELECT %s, new.* FROM unnest(%s::uuid[], %s::varchar[], %s::timestamptz[]) new
        ORDER BY 2
        ON CONFLICT (device_id) DO UPDATE SET
            configuration_version = excluded.configuration_version,
            configuration_waiting_since = CASE
                WHEN excluded.configuration_waiting_since IS NOT NULL
                THEN coalesce(
                    devices_nextsteps.configuration_waiting_since,
                    excluded.configuration_waiting_since
                )
            END
        """,
        str(current_tenant_id()),
        list(map(str, versions)),
        [version for version, _ in versions.values()],
        [since for _, since in versions.values()],
    )


def advance_command_sequences(device_ids: Collection[UUID]) -> dict[UUID, int]:
    """Increment the command sequence numbers of the current tenant's devices.

    The `NextSteps` rows of the devices stay locked until the transaction ends.

    Returns:
        The new sequence number by device id.
    """
    rows = _execute(
        """
        INSERT INTO devices_nextsteps (
            tenant_id, device_id, commands_waiting, command_sequence
        )
        SELECT %s, id, 1, 1 FROM unnest(%s::uuid[]) id ORDER BY id
        ON CONFLICT (device_id) DO UPDATE SET
            command_sequence = devices_nextsteps.command_sequence + 1
        RETURNING device_id, command_sequence
        """,
        str(current_tenant_id()),
        list(map(str, device_ids)),
    )
    return dict(rows)


def write_command_counts(counts: Mapping[UUID, int]) -> None:
    """Set the number of waiting commands of each device. The caller has locked the rows."""
    _execute(
        """
        UPDATE devices_nextsteps steps SET commands_waiting = counted.number
        FROM unnest(%s::uuid[], %s::int[]) counted (device_id, number)
        WHERE steps.device_id = counted.device_id
        """,
        list(map(str, counts)),
        list(counts.values()),
    )


def mark_updates_waiting(device_ids: Collection[UUID]) -> None:
    """Record for devices of the current tenant that an update is waiting. Lock their rows."""
    _execute(
        """
        INSERT INTO devices_nextsteps (tenant_id, device_id, update_waiting)
        SELECT %s, id, true FROM unnest(%s::uuid[]) id ORDER BY id
        ON CONFLICT (device_id) DO UPDATE SET update_waiting = true
        """,
        str(current_tenant_id()),
        list(map(str, device_ids)),
    )


def write_updates_waiting(device_ids: Collection[UUID], *, waiting: Collection[UUID]) -> None:
    """Record for each device whether an update is waiting. The caller has locked the rows.

    Args:
        device_ids: the devices to write.
        waiting: the subset of `device_ids` for which an update is waiting.
    """
    _execute(
        """
        UPDATE devices_nextsteps SET update_waiting = device_id = ANY(%s::uuid[])
        WHERE device_id = ANY(%s::uuid[])
        """,
        list(map(str, waiting)),
        list(map(str, device_ids)),
    )


def stop_waiting_for_configuration(device_id: UUID) -> None:
    """Record that a device no longer waits for a configuration, because it is being retired."""
    steps = NextSteps.every_tenant.filter(device=device_id)
    steps.update(configuration_waiting_since=None)


def create_missing(device_id: UUID) -> None:
    """Insert a device's `NextSteps` row if it is missing."""
    _execute(
        """
        INSERT INTO devices_nextsteps (tenant_id, device_id)
        SELECT tenant_id, id FROM devices_device WHERE id = %s
        ON CONFLICT DO NOTHING
        """,
        str(device_id),
    )


def lock(device_ids: Collection[UUID], *, skip_locked: bool = False) -> dict[UUID, NextSteps]:
    """Lock the `NextSteps` rows of devices of any tenant, in the order of the device ids.

    Args:
        skip_locked: if True, rows are skipped that are locked by another transaction.

    Returns:
        The locked rows by device id.
    """
    # The query filters by id only. A condition on the device would join and lock its row.
    rows = NextSteps.every_tenant.filter(device__in=device_ids).order_by("device_id")
    locked = rows.select_for_update(no_key=True, skip_locked=skip_locked, of=("self",))
    return {row.device_id: row for row in locked}


def as_response(steps: NextSteps | None, *, now: datetime) -> dict[str, Any]:
    """Return the fields of the `connect` response. `steps` is None if the device has no row."""
    if steps is None:
        return {
            "configuration_version": None,
            "configuration_waiting": False,
            "commands_waiting": 0,
            "update_waiting": False,
            "certificate_renewal_due": False,
            "certificate_serial_number": None,
        }
    due_at = steps.certificate_renewal_due_at
    return {
        "configuration_version": steps.configuration_version,
        "configuration_waiting": steps.configuration_waiting_since is not None,
        "commands_waiting": steps.commands_waiting,
        "update_waiting": steps.update_waiting,
        "certificate_renewal_due": due_at is not None and due_at <= now,
        "certificate_serial_number": steps.certificate_serial_number,
    }


@cache
def _upsert(columns: tuple[str, ...]) -> PreparedStatement:
    placeholders = ", ".join(f"${number}" for number in range(1, len(_FIELDS) + 1))
    assignments = ", ".join(f"{name} = excluded.{name}" for name in columns)
    types = (str(field.db_type(connection)) for field in _FIELDS.values())
    # The name of a prepared statement has at most 63 characters.
    digest = sha256(assignments.encode()).hexdigest()[:16]
    return PreparedStatement(
        f"next_steps_{digest}",
        ", ".join(types),
        f"INSERT INTO devices_nextsteps ({', '.join(_FIELDS)}) VALUES ({placeholders})"
        f" ON CONFLICT (device_id) DO UPDATE SET {assignments}",
    )


def _execute(sql: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []
