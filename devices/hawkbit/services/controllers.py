"""Find the device that a controller id names."""

from datetime import datetime
from uuid import UUID

from devices.hawkbit.errors import ControllerNotFound
from devices.registry.device_report import DeviceReport
from devices.registry.errors import AlreadyRegistered, IdentifierRequired, InvalidIdentifier
from devices.registry.identifiers import Identifier, parse_identifiers
from devices.registry.models import Device, DeviceIdentifier
from devices.registry.services import registration

PREFERENCE = ("serial_number", "android_id", "mac_address")


def find_device(controller_id: str) -> Device | None:
    """Return the current tenant's device with this id or identifier, with its next steps.

    A controller id is a device's id, serial number, Android id or MAC address. A serial number
    counts more than another identifier with the same text.
    """
    devices = Device.objects.not_retired().select_related("next_steps")
    device_id = _uuid(controller_id)
    if device_id is not None and (device := devices.filter(pk=device_id).first()) is not None:
        return device
    held = DeviceIdentifier.objects.matching(_identifiers(controller_id))
    rows = dict(held.values_list("kind", "device_id"))
    for kind in PREFERENCE:
        if kind in rows:
            return devices.filter(pk=rows[kind]).first()
    return None


def is_controller_id(controller_id: str, device: Device) -> bool:
    """Return whether the controller id names this device."""
    if _uuid(controller_id) == device.pk:
        return True
    held = DeviceIdentifier.objects.matching(_identifiers(controller_id))
    return held.filter(device=device).exists()


def register(controller_id: str, *, now: datetime) -> Device:
    """Register a device whose serial number is the controller id. It has no token.

    A device that another request has registered meanwhile is returned.

    Raises:
        ControllerNotFound: the text does not identify a device, or several may have it.
    """
    try:
        return registration.register(report=DeviceReport(serial_number=controller_id), now=now)
    except (InvalidIdentifier, IdentifierRequired) as error:
        raise ControllerNotFound from error
    except AlreadyRegistered as error:
        device = find_device(controller_id)
        if device is None:
            raise ControllerNotFound from error
        return device


def _identifiers(controller_id: str) -> list[Identifier]:
    parsed = parse_identifiers(serial=controller_id, android=controller_id, macs=[controller_id])
    return parsed.usable


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
