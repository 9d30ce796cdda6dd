"""The models of the device registry."""

from devices.registry.models.conflicts import ConflictingDevice, IdentifierConflict
from devices.registry.models.devices import (
    ACTIVE_IDENTIFIER_CONSTRAINT,
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
from devices.registry.models.tokens import DeviceToken, EnrollmentToken, ReregistrationPolicy

__all__ = [
    "ACTIVE_IDENTIFIER_CONSTRAINT",
    "ConflictingDevice",
    "Device",
    "DeviceHardware",
    "DeviceIdentifier",
    "DeviceQuerySet",
    "DeviceTag",
    "DeviceToken",
    "EnrollmentToken",
    "IdentifierConflict",
    "NextSteps",
    "Pairing",
    "Reregistration",
    "ReregistrationPolicy",
    "Sighting",
    "Tag",
]
