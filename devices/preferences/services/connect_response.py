"""Settings version in the connect response. Devices read their settings if it has changed."""

from datetime import datetime
from typing import Any
from uuid import UUID

from devices.preferences.services import definitions
from devices.registry.models import Device, NextSteps
from tenants.revisions import TenantFact


def response_fields(device: Device, steps: NextSteps | None, now: datetime) -> dict[str, Any]:
    """Return `settings_version`. The settings endpoint has the same value in its field `version`.

    `settings_version` is None if the tenant has no preferences or if the device is quarantined.
    """
    assert device.tenant_id is not None
    fingerprint = _fingerprint.get(device.tenant_id, device.tenant_revision)
    if fingerprint is None or device.quarantined_at is not None:
        return {"settings_version": None}
    revision = steps.settings_revision if steps else 0
    return {"settings_version": f"{fingerprint}-{revision}"}


def _read_fingerprints() -> dict[UUID, str | None]:
    """Return the fingerprints of the preferences of tenants; None without preferences."""
    return {
        pk: definitions.fingerprint(preferences) if preferences else None
        for pk, preferences in definitions.of_tenants_in_scope().items()
    }


_fingerprint = TenantFact(_read_fingerprints)
