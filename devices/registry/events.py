"""What happens to devices."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from events.services.outbox import Fact


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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceQuarantined(Fact):
    """Nothing is given to this device until a member decides; `reason` says why."""

    name: ClassVar = "device.quarantined"

    reason: str
    seen: list[str]  # from where, or with which keys, in turn


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReleased(Fact):
    """A member took a device out of quarantine."""

    name: ClassVar = "device.released"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReregistrationAsked(Fact):
    """A known box asks to register again, under a token that lets a member decide."""

    name: ClassVar = "device.reregistration_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReregistrationDecided(Fact):
    """A member allowed or denied it."""

    name: ClassVar = "device.reregistration_decided"

    allowed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingApproved(Fact):
    """A member let a box in that showed its code."""

    name: ClassVar = "device.pairing_approved"

    identifiers: list[str]
    box_address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSilence(Fact):
    """Very many of a tenant's devices fell silent at once: one alarm for all of them.

    `cause` is `ingest` when nobody at all was heard of, so the fault is likely ours,
    and `tenant` when it is a share of this tenant.
    """

    name: ClassVar = "fleet.silence"

    cause: str
    devices: int
    online_before: int
