"""Put devices into quarantine, and release them."""

from datetime import datetime

from django.db import transaction

from devices.registry.errors import NotQuarantined
from devices.registry.events import DeviceQuarantined, DeviceReleased
from devices.registry.models import CloneObservation, Device
from devices.registry.queries import lock_device
from events.domain_events import DomainEvent
from events.services.outbox import record


@transaction.atomic
def quarantine(*, device: Device, reason: str = "", now: datetime) -> Device:
    """Put a device into quarantine. Only its `connect` requests are still accepted.

    Raises:
        DeviceIsRetired: the device is retired.
    """
    device = lock_device(device.pk)
    record(set_quarantined(device, reason or "quarantined by a member", [], now))
    return device


@transaction.atomic
def release(*, device: Device, now: datetime) -> Device:
    """Release a device from quarantine and delete its observations.

    Raises:
        NotQuarantined: the device is not in quarantine.
        DeviceIsRetired: the device is retired.
    """
    device = lock_device(device.pk)
    if device.quarantined_at is None:
        raise NotQuarantined("The device is not in quarantine.")
    before, device.quarantined_at = device.quarantined_at, None
    device.save(update_fields=["quarantined_at"])
    CloneObservation.every_tenant.filter(device=device).delete()
    event = DeviceReleased(
        tenant_id=device.tenant_id,
        device_id=device.pk,
        at=now,
        changes={"quarantined_at": (before, None)},
    )
    record([event])
    return device


def set_quarantined(
    device: Device, reason: str, values: list[str], now: datetime
) -> list[DomainEvent]:
    """Put a locked device into quarantine, unless it is already. Return the events to record."""
    if device.quarantined_at is not None:
        return []
    device.quarantined_at = now
    device.save(update_fields=["quarantined_at"])
    return [
        DeviceQuarantined(
            tenant_id=device.tenant_id,
            device_id=device.pk,
            at=now,
            reason=reason,
            seen=values,
            changes={"quarantined_at": (None, now)},
        )
    ]
