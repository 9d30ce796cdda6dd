"""Read and set the tags of devices; read device names."""

import re
from collections.abc import Collection, Iterable
from uuid import UUID

from django.db import connection

from devices.registry.errors import InvalidTag
from devices.registry.models import Device, DeviceTag, Tag
from tenants.context import current_tenant_id

# No commas, no control characters, and at least one character that is not whitespace.
TAG_PATTERN = r"[^,\x00-\x1f\x7f-\x9f]*[^\s,\x00-\x1f\x7f-\x9f][^,\x00-\x1f\x7f-\x9f]*"

_TAG_NEW_DEVICE = """
    WITH wanted AS (SELECT unnest(%(names)s::text[]) AS name), made AS (
        INSERT INTO devices_tag (tenant_id, name) SELECT %(tenant)s, name FROM wanted
        ON CONFLICT (tenant_id, name) DO NOTHING RETURNING id
    )
    INSERT INTO devices_devicetag (tenant_id, device_id, tag_id)
    SELECT %(tenant)s, %(device)s, id FROM made
    UNION ALL
    SELECT %(tenant)s, %(device)s, tag.id FROM devices_tag tag JOIN wanted USING (name)
    WHERE tag.tenant_id = %(tenant)s
"""


def tag_names(device: Device) -> list[str]:
    """Return the names of a device's tags in alphabetical order."""
    device_tags = DeviceTag.objects.filter(device=device)
    return sorted(device_tags.values_list("tag__name", flat=True))


def device_names(device_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the names of devices of any tenant, by id."""
    devices = Device.every_tenant.filter(pk__in=device_ids)
    return dict(devices.values_list("pk", "name"))


def ids_of_devices_named(text: str, limit: int) -> list[UUID]:
    """Return the ids of devices in the current scope whose name contains the text."""
    tenant_id = current_tenant_id()
    devices = Device.every_tenant.all() if tenant_id is None else Device.objects.all()
    named = devices.filter(name__icontains=text).order_by("name", "pk")
    return list(named.values_list("pk", flat=True)[:limit])


def device_ids_with_tag(tag: str, device_ids: Collection[UUID]) -> set[UUID]:
    """Return the subset of `device_ids` that have a tag of this name."""
    device_tags = DeviceTag.every_tenant.filter(device__in=device_ids, tag__name=tag)
    return set(device_tags.values_list("device_id", flat=True))


def valid_names(names: Iterable[str]) -> list[str]:
    """Return names of tags in alphabetical order, without blank and repeated ones.

    Raises:
        InvalidTag: a name is too long or contains a comma or a control character.
    """
    valid = sorted({name.strip() for name in names if name.strip()})
    for name in valid:
        if len(name) > 64 or not re.fullmatch(TAG_PATTERN, name):
            raise InvalidTag(
                "A tag has at most 64 characters, and no commas or line breaks.", field="tags"
            )
    return valid


def set_tags(device: Device, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Replace the tags of a device. Create tags that the tenant does not have yet.

    Args:
        names: the new tags. Blank names are ignored.

    Returns:
        The names before and after the change, each in alphabetical order.

    Raises:
        InvalidTag: see `valid_names`.
    """
    after = valid_names(names)
    device_tags = DeviceTag.objects.filter(device=device).select_related("tag")
    before = sorted(row.tag.name for row in device_tags)
    if before != after:
        Tag.objects.bulk_create([Tag(name=name) for name in after], ignore_conflicts=True)
        if not set(before) <= set(after):
            device_tags.exclude(tag__name__in=after).delete()
        DeviceTag.objects.bulk_create(
            [DeviceTag(device=device, tag=tag) for tag in Tag.objects.filter(name__in=after)],
            ignore_conflicts=True,
        )
    return before, after


def tag_new_device(device: Device, names: Iterable[str]) -> list[str]:
    """Give a device that was created in this transaction its tags, usually with one statement.

    Returns:
        The names of the tags in alphabetical order.

    Raises:
        InvalidTag: see `valid_names`.
    """
    wanted = valid_names(names)
    if not wanted:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            _TAG_NEW_DEVICE, {"tenant": device.tenant_id, "device": device.pk, "names": wanted}
        )
        is_complete = cursor.rowcount == len(wanted)
    if not is_complete:  # a tag was created at the same time, and this statement cannot see it
        set_tags(device, wanted)
    return wanted
