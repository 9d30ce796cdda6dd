"""The models of the device registry."""

from devices.registry.models.attributes import AttributeDefinition, DeviceAttributes
from devices.registry.models.conflicts import ConflictingDevice, IdentifierConflict
from devices.registry.models.devices import (
    ACTIVE_IDENTIFIER_CONSTRAINT,
    Device,
    DeviceHardware,
    DeviceIdentifier,
    DeviceQuerySet,
    DeviceReplacement,
    DeviceTag,
    NextSteps,
    Tag,
)
from devices.registry.models.pairing import Pairing
from devices.registry.models.quarantine import CloneObservation, ReplacedToken, Reregistration
from devices.registry.models.sites import Site, SiteQuerySet
from devices.registry.models.tokens import DeviceToken, EnrollmentToken, ReregistrationPolicy
from devices.registry.models.unreadable_fields import UnreadableField, UnreadableFieldQuerySet

__all__ = [
    "ACTIVE_IDENTIFIER_CONSTRAINT",
    "AttributeDefinition",
    "CloneObservation",
    "ConflictingDevice",
    "Device",
    "DeviceAttributes",
    "DeviceHardware",
    "DeviceIdentifier",
    "DeviceQuerySet",
    "DeviceReplacement",
    "DeviceTag",
    "DeviceToken",
    "EnrollmentToken",
    "IdentifierConflict",
    "NextSteps",
    "Pairing",
    "ReplacedToken",
    "Reregistration",
    "ReregistrationPolicy",
    "Site",
    "SiteQuerySet",
    "Tag",
    "UnreadableField",
    "UnreadableFieldQuerySet",
]
