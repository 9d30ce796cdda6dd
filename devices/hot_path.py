"""The two statements of the hottest request, written out and prepared.

Every device connects every minute. Building these statements in the ORM costs more
than running them, and so does planning them anew each time: written out and prepared
once per connection, `connect` answers three times as many requests
(`./run bench connect`). They name their tenant, as the managers would.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connection

from devices.models import Device, NextSteps

_DEVICE = tuple(field.attname for field in Device._meta.concrete_fields)
_STEPS = tuple(field.attname for field in NextSteps._meta.concrete_fields)
_DEVICE_OF_TOKEN = f"""
    SELECT token.digest,
        {", ".join(f"device.{name}" for name in _DEVICE)},
        {", ".join(f"steps.{name}" for name in _STEPS)}
    FROM devices_devicetoken token
    JOIN devices_device device ON device.id = token.device_id
    LEFT JOIN devices_nextsteps steps ON steps.device_id = token.device_id
    WHERE token.digest = $1
"""
_SEEN = """
    UPDATE devices_device SET last_seen = $1
    WHERE id = $2 AND tenant_id = $3 AND status = 'online'
"""


_PREPARED: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def device_of_token(digest: str) -> tuple[str, Device] | None:
    """The stored digest, and the device whose token has it, with its next steps."""
    row, _ = _run("device_of_token", "varchar", _DEVICE_OF_TOKEN, [digest], fetch=True)
    if row is None:
        return None
    end = 1 + len(_DEVICE)
    device = Device.from_db("default", _DEVICE, row[1:end])
    announced = row[end + _STEPS.index("device_id")] is not None
    steps = NextSteps.from_db("default", _STEPS, row[end:]) if announced else None
    device._state.fields_cache["next_steps"] = steps
    return row[0], device


def seen_while_online(device: Device, *, now: datetime) -> bool:
    """Note a sign of life of a device that is still online; say whether it was."""
    values = [now, device.pk, device.tenant_id]
    _, changed = _run("seen_while_online", "timestamptz, uuid, uuid", _SEEN, values)
    return changed > 0


def _run(
    name: str, types: str, sql: str, values: Sequence[Any], *, fetch: bool = False
) -> tuple[Any, int]:
    """Execute a statement that this connection plans once; its first row, its row count."""
    with connection.cursor() as cursor:
        prepared = _PREPARED.setdefault(connection.connection, set())
        if name not in prepared:
            cursor.execute(f"PREPARE {name} ({types}) AS {sql}")
            prepared.add(name)
        marks = ", ".join(["%s"] * len(values))
        cursor.execute(f"EXECUTE {name} ({marks})", values)
        return (cursor.fetchone() if fetch else None), cursor.rowcount
