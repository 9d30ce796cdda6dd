"""The columns of an exported list of devices. An import reads them again."""

from collections.abc import Callable, Sequence

from django.db.models import Prefetch

from devices.registry.models import Device, DeviceIdentifier, DeviceQuerySet, DeviceTag
from devices.registry.services.attributes import of_tenant, text_of
from tenants.context import current_tenant_id

ATTRIBUTE = "attribute."  # prefix of the columns of attributes


def _identifiers(kind: str) -> Callable[[Device], str]:
    def joined(device: Device) -> str:
        rows = device.identifiers.all()
        return ", ".join(row.shown for row in rows if row.kind == kind)

    return joined


def _manufacturer(device: Device) -> str:
    hardware = getattr(device, "hardware", None)
    return hardware.manufacturer if hardware else ""


Column = tuple[str, Callable[[Device], object]]
COLUMNS: Sequence[Column] = (
    ("id", lambda device: device.pk),
    ("name", lambda device: device.name),
    ("serial_number", _identifiers("serial_number")),
    ("android_id", _identifiers("android_id")),
    ("mac_addresses", _identifiers("mac_address")),
    ("model", lambda device: device.model),
    ("manufacturer", _manufacturer),
    ("site", lambda device: device.site.name if device.site else ""),
    ("tags", lambda device: ", ".join(row.tag.name for row in device.device_tags.all())),
    ("status", lambda device: device.status),
    ("app_version", lambda device: device.app_version),
    ("os_version", lambda device: device.os_version),
    ("ip_address", lambda device: device.ip_address),
    ("last_seen", lambda device: device.last_seen),
    ("registered_at", lambda device: device.registered_at),
)


def _notes(device: Device) -> str:
    row = getattr(device, "attributes", None)
    return row.notes if row else ""


def _value(key: str) -> Callable[[Device], object]:
    def text(device: Device) -> str:
        row = getattr(device, "attributes", None)
        return text_of(row.values.get(key)) if row else ""

    return text


def columns() -> Sequence[Column]:
    """Return all columns, with the notes, and with the attributes of the current tenant."""
    if current_tenant_id() is None:  # of hundreds of tenants, there would be too many
        return [*COLUMNS, ("notes", _notes)]
    keys = sorted(of_tenant())
    own = [(f"{ATTRIBUTE}{key}", _value(key)) for key in keys]
    return [*COLUMNS, ("notes", _notes), *own]


def with_columns(devices: DeviceQuerySet) -> DeviceQuerySet:
    """Load what `COLUMNS` need with a few queries for many devices."""
    plain = devices.prefetch_related(None)  # a list may have loaded columns of its own
    return plain.select_related("site", "hardware", "attributes").prefetch_related(
        Prefetch("identifiers", DeviceIdentifier.every_tenant.in_use().order_by("id")),
        Prefetch("device_tags", DeviceTag.every_tenant.select_related("tag").order_by("tag__name")),
    )
