"""Change details of a device: its name, tags and site, and what it reports of its hardware."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from django.db import IntegrityError, transaction

from devices.registry.errors import AlreadyRegistered
from devices.registry.events import DeviceUpdated
from devices.registry.identifiers import Identifier
from devices.registry.models import Device, DeviceHardware, Site
from devices.registry.queries import lock_device
from devices.registry.services import device_identifiers
from devices.registry.services.attributes import set_details
from devices.registry.services.sites import require_site
from devices.registry.services.tags import set_tags
from events.domain_events import Changes
from events.services.outbox import record


class Unchanged(Enum):
    """The value of an argument that leaves a field as it is, because None is a value."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@transaction.atomic
def update(
    *,
    device: Device,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    site: Site | Unchanged | None = UNCHANGED,
    notes: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    now: datetime,
) -> Device:
    """Change the name, the tags, the site, the notes and the attributes of a device.

    Args:
        name: the new name; None leaves it unchanged.
        tags: the new tags; None leaves them unchanged.
        site: the new site; None removes the device from its site.
        notes, attributes: see `set_details`.

    Raises:
        DeviceIsRetired: the device is retired.
        InvalidAttributeValue: see `set_details`.
        InvalidTag: see `set_tags`.
        InvalidSite: the site was deleted.
    """
    device = lock_device(device.pk)
    changes: Changes = {}
    if not isinstance(site, Unchanged):
        require_site(site)
    if not isinstance(site, Unchanged) and device.site_id != (site.pk if site else None):
        changes["site"] = (device.site.name if device.site else None, site.name if site else None)
        device.site = site
        device.save(update_fields=["site"])
    if name is not None and name != device.name:
        changes["name"] = (device.name, name)
        device.name = name
        device.save(update_fields=["name"])
    if tags is not None:
        before, after = set_tags(device, tags)
        if before != after:
            changes["tags"] = (before, after)
    if notes is not None or attributes:
        changes |= set_details(device, notes=notes, values=attributes)
    if changes:
        record(
            [
                DeviceUpdated(
                    tenant_id=device.tenant_id, device_id=device.pk, at=now, changes=changes
                )
            ]
        )
    return device


@transaction.atomic
def add_identifiers(*, device: Device, identifiers: Collection[Identifier], now: datetime) -> None:
    """Give a device identifiers that no other device has.

    Raises:
        DeviceIsRetired: the device is retired.
        AlreadyRegistered: another device has just got one of them.
    """
    device = lock_device(device.pk)
    added = [f"{item.kind}:{item.value}" for item in identifiers]
    if not added:
        return
    try:
        with transaction.atomic():
            device_identifiers.give(device, identifiers, now=now)
    except IntegrityError as error:
        if not device_identifiers.are_taken(error):
            raise
        raise AlreadyRegistered("Another device has just got one of the identifiers.") from error
    fields = {"tenant_id": device.tenant_id, "device_id": device.pk}
    record([DeviceUpdated(**fields, at=now, changes={"identifiers": (None, added)})])


@transaction.atomic
def record_hardware(
    *, device: Device, manufacturer: str = "", model: str = "", now: datetime
) -> None:
    """Store what a device reports of its hardware. An empty value leaves a field as it is.

    Raises:
        DeviceIsRetired: the device is retired.
    """
    device = lock_device(device.pk)
    hardware, _ = DeviceHardware.objects.get_or_create(device=device)
    changes: Changes = {}
    for row, name, value in ((hardware, "manufacturer", manufacturer), (device, "model", model)):
        if value and value != getattr(row, name):
            changes[name] = (getattr(row, name), value)
            setattr(row, name, value)
            row.save(update_fields=[name])
    if changes:
        fields = {"tenant_id": device.tenant_id, "device_id": device.pk}
        record([DeviceUpdated(**fields, at=now, changes=changes)])
