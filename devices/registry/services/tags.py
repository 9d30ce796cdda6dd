"""Which tags a device wears, and how it is called."""

import re
from collections.abc import Collection, Iterable
from uuid import UUID

from devices.registry.errors import InvalidTag
from devices.registry.models import Device, DeviceTag, Tag

TAG = r"[^,\x00-\x1f\x7f-\x9f]*[^\s,\x00-\x1f\x7f-\x9f][^,\x00-\x1f\x7f-\x9f]*"


def tags_of(device: Device) -> list[str]:
    """The names of the tags that the device wears, in order."""
    worn = DeviceTag.objects.filter(device=device)
    return sorted(worn.values_list("tag__name", flat=True))


def names_of(device_ids: Collection[UUID]) -> dict[UUID, str]:
    """How devices are called, in whatever scope the caller acts."""
    found = Device.every_tenant.filter(pk__in=device_ids)
    return dict(found.values_list("pk", "name"))


def wearing(tag: str, device_ids: Collection[UUID]) -> set[UUID]:
    """Which of the devices wear a tag of this name."""
    worn = DeviceTag.every_tenant.filter(device__in=device_ids, tag__name=tag)
    return set(worn.values_list("device_id", flat=True))


def set_tags(device: Device, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Make these the device's tags; return the names before and after, in order."""
    after = sorted({name.strip() for name in names if name.strip()})
    for name in after:
        if len(name) > 64 or not re.fullmatch(TAG, name):
            raise InvalidTag(
                "A tag has at most 64 characters on one line and no comma.",
                field="tags",
            )
    worn = DeviceTag.objects.filter(device=device).select_related("tag")
    before = sorted(row.tag.name for row in worn)
    if before != after:
        Tag.objects.bulk_create(
            [Tag(name=name) for name in after], ignore_conflicts=True
        )
        worn.exclude(tag__name__in=after).delete()
        DeviceTag.objects.bulk_create(
            [
                DeviceTag(device=device, tag=tag)
                for tag in Tag.objects.filter(name__in=after)
            ],
            ignore_conflicts=True,
        )
    return before, after
