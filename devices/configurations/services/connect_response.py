"""Configuration fields of the connect response for devices without an assigned version.

All other devices get these fields from their `NextSteps` row, which is updated with every
change of a configuration.
"""

from datetime import datetime
from typing import Any

from devices.configurations.documents import EMPTY_VERSION
from devices.configurations.extension_points import keys_set_by_server
from devices.configurations.models import DeviceConfiguration, PlatformConfiguration
from devices.configurations.services import effective
from devices.registry.models import Device, NextSteps, Site
from tenants.revisions import TenantFact


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


def _has_layers() -> bool:
    return (
        PlatformConfiguration.objects.exclude(document={}).exists()
        or DeviceConfiguration.objects.not_empty().exists()
        or Site.objects.exclude(time_zone="").exists()
        or bool(keys_set_by_server())
    )


# Whether the tenant has layers or sites. If not, devices without an assigned version have the
# empty configuration.
has_layers = TenantFact(_has_layers)
