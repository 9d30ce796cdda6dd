"""Let new hardware take over the record of a device that has failed."""

from datetime import datetime

from django.db import transaction

from devices.registry.errors import CannotReplace
from devices.registry.events import DeviceReplaced, DeviceUpdated
from devices.registry.extension_points import device_replaced
from devices.registry.models import Device, DeviceReplacement
from devices.registry.queries import lock_device
from devices.registry.services.attributes import copy_details
from devices.registry.services.device_details import update
from devices.registry.services.retirement import retire
from devices.registry.services.tags import tag_names
from events.services.outbox import record


@transaction.atomic
def replace(*, failed: Device, by: Device, now: datetime) -> Device:
    """Give the name, site, tags, configuration and settings of a device to its successor.

    The failed device is retired and keeps its history. The records link to each other. The
    failed device may be retired already.

    Args:
        by: the new hardware, which is registered.

    Raises:
        CannotReplace: the devices are the same, the failed device was replaced before, or the
            new device has replaced another one.
        DeviceIsRetired: the new device is retired.
    """
    if failed.pk == by.pk:
        raise CannotReplace("A device cannot replace itself.", field="replacement")
    for device_id in sorted((failed.pk, by.pk)):  # in a fixed order
        lock_device(device_id, allow_retired=device_id == failed.pk)
    failed, by = Device.objects.get(pk=failed.pk), Device.objects.get(pk=by.pk)
    if DeviceReplacement.objects.filter(failed=failed).exists():
        raise CannotReplace("The device was replaced before.")
    if DeviceReplacement.objects.filter(successor=by).exists():
        sentence = "The new device has replaced another device."
        raise CannotReplace(sentence, field="replacement")
    DeviceReplacement.objects.create(failed=failed, successor=by, replaced_at=now)
    tags = {*tag_names(failed), *tag_names(by)}
    by = update(device=by, name=failed.name, tags=tags, site=failed.site or by.site, now=now)
    copied = copy_details(source=failed, target=by)
    if copied:
        record([DeviceUpdated(tenant_id=by.tenant_id, device_id=by.pk, at=now, changes=copied)])
    for callback in device_replaced:
        callback(failed, by, now)
    retire(device=failed, reason=f"replaced by {by.pk}", now=now)
    event = DeviceReplaced(
        tenant_id=failed.tenant_id,
        device_id=failed.pk,
        at=now,
        device_name=failed.name,
        successor_id=by.pk,
    )
    record([event])
    return by
