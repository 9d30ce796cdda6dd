"""What happens to devices."""

from datetime import datetime

from events.domain_events import DomainEvent


class DeviceRegistered(DomainEvent):
    """A device is in the registry: by itself, by a member, or from a file."""

    name = "device.registered"

    by: str  # auto, manual
    device_name: str
    identifiers: list[str]


class DeviceClaimed(DomainEvent):
    """A box came that carries the identifiers of a manually registered device."""

    name = "device.claimed"


class DeviceReregistered(DomainEvent):
    """A known box registered again; its earlier token is void."""

    name = "device.reregistered"


class DeviceUpdated(DomainEvent):
    """Something recorded of a device is different now; `changes` says what."""

    name = "device.updated"


class DeviceTokenIssued(DomainEvent):
    """A member had a new token made for a device; its earlier one is void."""

    name = "device.token_issued"


class DeviceStatusChanged(DomainEvent):
    """A device was heard of again, or was not heard of for too long."""

    name = "device.status_changed"

    status: str
    last_seen: datetime | None


class DeviceRetired(DomainEvent):
    """A device's life is over; its certificates and token ended with it."""

    name = "device.retired"

    reason: str


class DeviceQuarantined(DomainEvent):
    """Nothing is given to this device until a member decides; `reason` says why."""

    name = "device.quarantined"

    reason: str
    seen: list[str]  # from where, or with which keys, in turn


class DeviceReleased(DomainEvent):
    """A member took a device out of quarantine."""

    name = "device.released"


class ReregistrationAsked(DomainEvent):
    """A known box asks to register again, under a token that lets a member decide."""

    name = "device.reregistration_asked"


class ReregistrationDecided(DomainEvent):
    """A member allowed or denied it."""

    name = "device.reregistration_decided"

    allowed: bool


class PairingApproved(DomainEvent):
    """A member let a box in that showed its code."""

    name = "device.pairing_approved"

    identifiers: list[str]
    box_address: str | None


class FleetSilence(DomainEvent):
    """Very many of a tenant's devices fell silent at once: one alarm for all of them.

    `cause` is `ingest` when nobody at all was heard of, so the fault is likely ours,
    and `tenant` when it is a share of this tenant.
    """

    name = "fleet.silence"

    cause: str
    devices: int
    online_before: int
