"""Settings version in the connect response. Devices read their settings if it has changed."""

import time
from datetime import datetime
from typing import Any
from uuid import UUID

from devices.preferences.services import definitions
from devices.registry.models import Device, NextSteps

CACHE_SECONDS = 5.0  # how long a process caches a tenant's fingerprint

_cache: dict[UUID, tuple[float, str | None]] = {}  # tenant: (expires, fingerprint)


def response_fields(device: Device, steps: NextSteps | None, now: datetime) -> dict[str, Any]:
    """Return `settings_version`. The settings endpoint has the same value in its field `version`.

    `settings_version` is None if the tenant has no preferences or if the device is quarantined.
    """
    assert device.tenant_id is not None
    fingerprint = _fingerprint(device.tenant_id)
    if fingerprint is None or device.quarantined_at is not None:
        return {"settings_version": None}
    revision = steps.settings_revision if steps else 0
    return {"settings_version": f"{fingerprint}-{revision}"}


def clear_cache() -> None:
    """Clear the cache of fingerprints. Used by tests."""
    _cache.clear()


def _fingerprint(tenant_id: UUID) -> str | None:
    expires, fingerprint = _cache.get(tenant_id, (0.0, None))
    if expires < time.monotonic():
        preferences = definitions.of_tenant()
        fingerprint = definitions.fingerprint(preferences) if preferences else None
        _cache[tenant_id] = time.monotonic() + CACHE_SECONDS, fingerprint
    return fingerprint
