"""The rows of the registry."""

from devices.registry.models.devices import (
    ONE_LIVING_DEVICE,
    Device,
    DeviceHardware,
    DeviceIdentifier,
    DeviceQuerySet,
    DeviceTag,
    NextSteps,
    Tag,
)
from devices.registry.models.pairing import Pairing
from devices.registry.models.quarantine import Reregistration, Sighting
from devices.registry.models.tokens import DeviceToken, EnrollmentToken, Reregistering

__all__ = [
    "ONE_LIVING_DEVICE",
    "Device",
    "DeviceHardware",
    "DeviceIdentifier",
    "DeviceQuerySet",
    "DeviceTag",
    "DeviceToken",
    "EnrollmentToken",
    "NextSteps",
    "Pairing",
    "Reregistering",
    "Reregistration",
    "Sighting",
    "Tag",
]
