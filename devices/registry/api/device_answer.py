"""A device in the responses of the device API."""

from typing import Any

from core.times import utc_text
from devices.registry.models import Device
from devices.registry.signature_algorithms import EDDSA


def device_answer(device: Any) -> dict[str, Any]:
    """Return the fields of `DeviceSerializer`.

    A list has hundreds of devices, and the fields of a serializer take four times as long.

    Args:
        device: a `Device`, loaded by `with_details`, or new.
    """
    hardware = getattr(device, "hardware", None)
    steps = getattr(device, "next_steps", None)
    attributes = getattr(device, "attributes", None)
    identifiers = _identifiers(device)
    return {
        "id": str(device.pk),
        "name": device.name,
        "status": device.status,
        "last_seen": _time(device.last_seen),
        "serial_number": next(iter(identifiers.get("serial_number", ())), None),
        "android_id": next(iter(identifiers.get("android_id", ())), None),
        "mac_addresses": identifiers.get("mac_address", []),
        "manufacturer": hardware.manufacturer if hardware else "",
        "model": device.model,
        "os_version": device.os_version,
        "app_version": device.app_version,
        "screen_width": hardware.screen_width if hardware else None,
        "screen_height": hardware.screen_height if hardware else None,
        "abis": hardware.abis if hardware else [],
        "signature_algorithm": hardware.signature_algorithm if hardware else EDDSA,
        "ip_address": device.ip_address,
        "tags": sorted(row.tag.name for row in device.loaded_tags),
        "site": {"id": str(device.site.pk), "name": device.site.name} if device.site else None,
        "notes": attributes.notes if attributes else "",
        "attributes": attributes.values if attributes else {},
        "replaces": _other(device, "predecessor", "failed_id"),
        "replaced_by": _other(device, "replacement", "successor_id"),
        "registered_at": _time(device.registered_at),
        "retired_at": _time(device.retired_at),
        "quarantined_at": _time(device.quarantined_at),
        "reregistration": _reregistration(getattr(device, "reregistration", None)),
        "configuration_waiting_since": _time(steps and steps.configuration_waiting_since),
    }


def _identifiers(device: Any) -> dict[str, list[str]]:
    """Return the identifiers by kind. Those of a retired device are released, but still shown."""
    values: dict[str, list[str]] = {}
    for item in device.loaded_identifiers:
        if item.released_at is None or device.retired_at is not None:
            values.setdefault(item.kind, []).append(item.shown)
    return values


def _other(device: Device, relation: str, key: str) -> str | None:
    row = getattr(device, relation, None)
    return str(getattr(row, key)) if row else None


def _reregistration(row: Any) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "asked_at": _time(row.asked_at),
        "address": row.address,
        "decided_at": _time(row.decided_at),
        "allowed": row.allowed,
    }


def _time(moment: Any) -> str | None:
    return utc_text(moment) if moment else None
