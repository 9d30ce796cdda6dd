"""Devices with everything that the API shows of them."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Prefetch, QuerySet

from devices.registry.models import Device, DeviceIdentifier, DeviceTag, Tag

RELATED = (
    "hardware",
    "reregistration",
    "next_steps",
    "site",
    "replacement",
    "predecessor",
    "attributes",
)


def with_details(devices: QuerySet[Device]) -> QuerySet[Device]:
    """Load the data that the API shows of devices. The number of queries is fixed.

    Identifiers and tags are loaded into lists, in a fraction of the time of related managers.
    """
    return devices.select_related(*RELATED).prefetch_related(
        Prefetch("identifiers", to_attr="loaded_identifiers"),
        Prefetch("device_tags", DeviceTag.objects.select_related("tag"), to_attr="loaded_tags"),
    )


def mark_as_new(device: Any, identifiers: list[DeviceIdentifier]) -> None:
    """Note the details of a device that has just been created, so that no query reads them."""
    device.loaded_identifiers, device.loaded_tags = identifiers, []
    for name in RELATED:
        device._state.fields_cache.setdefault(name, None)


def show_tags(device: Any, names: Iterable[str]) -> None:
    """Note the tags that a new device has got."""
    device.loaded_tags = [DeviceTag(device=device, tag=Tag(name=name)) for name in names]
