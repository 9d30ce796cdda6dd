"""What a device that was never told of a configuration is told when it first asks.

Every other device finds it in its next steps, where changes write it.
"""

import time
from datetime import datetime
from typing import Any
from uuid import UUID

from devices.configurations.documents import NOTHING
from devices.configurations.extension_points import keys_set_by_server
from devices.configurations.models import DeviceConfiguration, PlatformConfiguration
from devices.configurations.services import effective
from devices.registry.models import Device, NextSteps

GOOD_FOR = 5.0  # seconds that a process believes that a tenant has no layers

_known: dict[UUID, tuple[float, bool]] = {}


def tell(device: Device, steps: NextSteps | None, now: datetime) -> dict[str, Any]:
    """For `connect`: nothing, unless it is the first time."""
    if not _is_new(device):
        return {}
    version = version_for(device, wait=False, now=now)
    if _is_new(device):
        return {}  # somebody else has the turn; at the next connect then
    return {
        "configuration_version": version,
        "configuration_waiting": version != NOTHING,
    }


def version_for(device: Device, *, wait: bool = True, now: datetime) -> str:
    """The version that a device should have, from what came with its credential.

    Args:
        wait: of a new device: for the turn to work it out.
    """
    if _is_new(device):
        effective.refresh([device.pk], even_nothing=True, wait=wait, now=now)
        device.next_steps = NextSteps.objects.filter(device=device).first()
    steps: NextSteps | None = getattr(device, "next_steps", None)
    return (steps.configuration_version if steps else None) or NOTHING


def forget() -> None:
    """Ask anew whether a tenant has layers."""
    _known.clear()


def _is_new(device: Device) -> bool:
    """Nobody has worked out what it should have, and its tenant has layers."""
    steps: NextSteps | None = getattr(device, "next_steps", None)
    told = steps is not None and steps.configuration_version is not None
    if told or device.quarantined_at is not None or device.tenant_id is None:
        return False
    return _has_layers(device.tenant_id)


def _has_layers(tenant_id: UUID) -> bool:
    until, found = _known.get(tenant_id, (0.0, False))
    if not found and until < time.monotonic():
        found = (
            PlatformConfiguration.objects.exclude(document={}).exists()
            or DeviceConfiguration.objects.saying_something().exists()
            or bool(keys_set_by_server())
        )
        _known[tenant_id] = time.monotonic() + GOOD_FOR, found
    return found
