"""What `connect` says of the settings: their version, so that a device knows when to read."""

import time
from datetime import datetime
from typing import Any
from uuid import UUID

from devices.preferences.services import definitions
from devices.registry.models import Device, NextSteps

GOOD_FOR = 5.0  # seconds that a process tells what it knows of a tenant's definitions

_known: dict[UUID, tuple[float, str | None]] = {}


def tell(device: Device, steps: NextSteps | None, now: datetime) -> dict[str, Any]:
    """`settings_version` as reading the settings says it; null: there are none."""
    assert device.tenant_id is not None
    definitions_are = _fingerprint(device.tenant_id)
    if definitions_are is None or device.quarantined_at is not None:
        return {"settings_version": None}
    revision = steps.settings_revision if steps else 0
    return {"settings_version": f"{definitions_are}-{revision}"}


def forget() -> None:
    """Look at the definitions anew with the next connect."""
    _known.clear()


def _fingerprint(tenant_id: UUID) -> str | None:
    until, found = _known.get(tenant_id, (0.0, None))
    if until < time.monotonic():
        preferences = definitions.of_tenant()
        found = definitions.fingerprint(preferences) if preferences else None
        _known[tenant_id] = time.monotonic() + GOOD_FOR, found
    return found
