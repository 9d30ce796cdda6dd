"""The domain events of the device registry."""

from datetime import datetime

from events.domain_events import DomainEvent


class DeviceRegistered(DomainEvent):
    """A device was registered by itself or by a member."""

    name = "device.registered"

    by: str  # auto, manual
    device_name: str
    identifiers: list[str]


class DeviceClaimed(DomainEvent):
    """A device registered itself for the first time after a member had entered it."""

    name = "device.claimed"


class DeviceReregistered(DomainEvent):
    """A registered device registered again. Its previous token is void."""

    name = "device.reregistered"


class DeviceUpdated(DomainEvent):
    """The data of a device changed. `changes` has the old and the new values."""

    name = "device.updated"


class DeviceTokenIssued(DomainEvent):
    """A member issued a new token for a device. The previous token is void."""

    name = "device.token_issued"


class DeviceStatusChanged(DomainEvent):
    """A device went online or offline."""

    name = "device.status_changed"

    status: str
    last_seen: datetime | None


class DeviceRetired(DomainEvent):
    """A device was retired. Its certificates and its token are void."""

    name = "device.retired"

    reason: str


class DeviceQuarantined(DomainEvent):
    """A device was put into quarantine; `reason` tells why."""

    name = "device.quarantined"

    reason: str
    seen: list[str]  # addresses or keys in the order in which they were used


class DeviceReleased(DomainEvent):
    """A member released a device from quarantine."""

    name = "device.released"


class ReregistrationAsked(DomainEvent):
    """A registered device requests to register again and needs a member's approval."""

    name = "device.reregistration_asked"


class ReregistrationDecided(DomainEvent):
    """A member allowed or denied a request to register again."""

    name = "device.reregistration_decided"

    allowed: bool


class PairingApproved(DomainEvent):
    """A member approved the pairing of a device."""

    name = "device.pairing_approved"

    identifiers: list[str]
    box_address: str | None


class FleetSilence(DomainEvent):
    """A large share of a tenant's devices went offline at once.

    `cause` is `ingest` if no device of any tenant is online, which points to a fault of
    this server. It is `tenant` if only a share of this tenant's devices is affected.
    """

    name = "fleet.silence"

    cause: str
    devices: int
    online_before: int
