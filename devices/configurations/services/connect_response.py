"""Configuration fields of the connect response for devices without an assigned version.

All other devices get these fields from their `NextSteps` row, which is updated with every
change of a configuration.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from devices.configurations.documents import EMPTY_VERSION
from devices.configurations.extension_points import keys_set_by_server
from devices.configurations.models import DeviceConfiguration, PlatformConfiguration
from devices.configurations.services import effective
from devices.registry.models import Device, NextSteps, Site
from tenants.revisions import TenantFact, exists_for_tenant, tenants_in_scope


def response_fields(device: Device, steps: NextSteps | None, now: datetime) -> dict[str, Any]:
    """Return the configuration fields, or {} for a device with an assigned version."""
    if not _is_unassigned(device):
        return {}
    version = version_for(device, wait=False, now=now)
    if _is_unassigned(device):
        return {}  # another transaction has the lock; the next connect tries again
    return {"configuration_version": version, "configuration_waiting": version != EMPTY_VERSION}


def version_for(device: Device, *, wait: bool = True, now: datetime) -> str:
    """Return the version of the configuration that a device should have.

    The `NextSteps` row was loaded with the device's credential. For a device with an
    assigned version, no query is therefore needed.

    Args:
        wait: whether to wait for the lock of the calculation if the device has no version.
    """
    if _is_unassigned(device):
        effective.refresh([device.pk], write_empty=True, wait=wait, now=now)
        device.next_steps = NextSteps.objects.filter(device=device).first()
    steps = getattr(device, "next_steps", None)
    return (steps.configuration_version if steps else None) or EMPTY_VERSION


def _is_unassigned(device: Device) -> bool:
    """Return True if a device has no version yet although its tenant has layers or sites."""
    steps = getattr(device, "next_steps", None)
    is_assigned = steps is not None and steps.configuration_version is not None
    if is_assigned or device.quarantined_at is not None or device.tenant_id is None:
        return False
    return has_layers.get(device.tenant_id, device.tenant_revision)


def _have_layers() -> dict[UUID, bool]:
    """Return whether tenants have layers, sites with a time zone, or keys set by the server."""
    if PlatformConfiguration.objects.exclude(document={}).exists():
        return dict.fromkeys(tenants_in_scope().values_list("pk", flat=True), True)
    layers = exists_for_tenant(DeviceConfiguration.every_tenant.not_empty())
    sites = exists_for_tenant(Site.every_tenant.exclude(time_zone=""))
    with_keys = keys_set_by_server()
    rows = tenants_in_scope().values_list("pk", layers, sites)
    return {pk: has_layer or has_site or pk in with_keys for pk, has_layer, has_site in rows}


# If a tenant has none, devices without an assigned version have the empty configuration.
has_layers = TenantFact(_have_layers)
