"""What a device should do next: written by the rooms above, told at `connect`."""

from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any

from django.db import connection

from core.prepared_statements import Prepared
from devices.registry.models import Device, NextSteps

_FIELDS = {field.attname: field for field in NextSteps._meta.concrete_fields}


def announce(device: Device, **steps: Any) -> None:
    """Set some columns of `NextSteps`, within the transaction that makes them true."""
    columns = {name: field.get_default() for name, field in _FIELDS.items()} | steps
    columns |= {"device_id": device.pk, "tenant_id": device.tenant_id}
    _statement(tuple(steps)).changes(*(columns[name] for name in _FIELDS))


@cache
def _statement(set_columns: tuple[str, ...]) -> Prepared:
    """The upsert of some columns: prepared, as each issuance has one."""
    marks = ", ".join(f"${number}" for number in range(1, len(_FIELDS) + 1))
    changes = ", ".join(f"{name} = excluded.{name}" for name in set_columns)
    types = (str(field.db_type(connection)) for field in _FIELDS.values())
    return Prepared(
        f"announce_{sha256(changes.encode()).hexdigest()[:16]}",  # names are short
        ", ".join(types),
        f"INSERT INTO devices_nextsteps ({', '.join(_FIELDS)}) VALUES ({marks})"
        f" ON CONFLICT (device_id) DO UPDATE SET {changes}",
    )


def told(steps: NextSteps | None, *, now: datetime) -> dict[str, Any]:
    """The same as the answer of `connect` says it; `steps` None when nothing was announced."""
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
