"""What happens to devices."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from events.outbox import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRegistered(Fact):
    """A device is in the registry: by itself, by a member, or from a file."""

    name: ClassVar = "device.registered"

    by: str  # auto, manual
    device_name: str
    identifiers: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClaimed(Fact):
    """A box came that carries the identifiers of a manually registered device."""

    name: ClassVar = "device.claimed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReregistered(Fact):
    """A known box registered again; its earlier token is void."""

    name: ClassVar = "device.reregistered"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUpdated(Fact):
    """Something recorded of a device is different now; `changes` says what."""

    name: ClassVar = "device.updated"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTokenIssued(Fact):
    """A member had a new token made for a device; its earlier one is void."""

    name: ClassVar = "device.token_issued"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatusChanged(Fact):
    """A device was heard of again, or was not heard of for too long."""

    name: ClassVar = "device.status_changed"

    status: str
    last_seen: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRetired(Fact):
    """A device's life is over; its certificates and token ended with it."""

    name: ClassVar = "device.retired"

    reason: str
