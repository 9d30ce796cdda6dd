"""The rows of the registry."""

from devices.models.doubts import Reregistration, Sighting
from devices.models.pairing import Pairing
from devices.models.registry import (
    ONE_LIVING_DEVICE,
    Device,
    DeviceHardware,
    DeviceIdentifier,
    DeviceQuerySet,
    DeviceTag,
    NextSteps,
    Tag,
)
from devices.models.tokens import DeviceToken, EnrollmentToken, Reregistering

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
