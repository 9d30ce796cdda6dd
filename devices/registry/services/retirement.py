"""Retire devices."""

from datetime import datetime

from django.db import transaction

from devices.registry.errors import DeviceIsRetired
from devices.registry.events import DeviceRetired
from devices.registry.extension_points import device_retiring
from devices.registry.models import Device, DeviceIdentifier, DeviceToken
from devices.registry.queries import lock_device
from events.services.outbox import record


@transaction.atomic
def retire(*, device: Device, reason: str = "", now: datetime) -> None:
    """Retire a device: revoke its certificates and token, release its identifiers.

    The device's row, certificates and events are kept as history. Retiring a retired device has
    no effect.
    """
    try:
        device = lock_device(device.pk)
    except DeviceIsRetired:
        return
    for callback in device_retiring:
        callback(device.pk, now)
    DeviceToken.every_tenant.filter(device=device).delete()
    DeviceIdentifier.every_tenant.in_use().filter(device=device).update(released_at=now)
    before = device.status
    device.status = Device.Status.RETIRED
    device.retired_at = now
    device.save(update_fields=["status", "retired_at"])
    event = DeviceRetired(
        tenant_id=device.tenant_id,
        device_id=device.pk,
        at=now,
        reason=reason,
        changes={"status": (before, device.status)},
    )
    record([event])
