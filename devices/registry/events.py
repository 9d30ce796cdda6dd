"""The domain events of the device registry."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from events.domain_events import DomainEvent


class DeviceRegistered(DomainEvent):
    """A device registered itself, or a member registered it by hand."""

    name = "device.registered"

    by: str  # "auto" or "manual"
    device_name: str
    identifiers: list[str]


class DeviceClaimed(DomainEvent):
    """A device that a member had registered by hand registered itself for the first time."""

    name = "device.claimed"


class DeviceReregistered(DomainEvent):
    """A registered device registered again. Its previous token was revoked."""

    name = "device.reregistered"


class DeviceUpdated(DomainEvent):
    """The data of a device changed. `changes` contains the old and new values."""

    name = "device.updated"


class DeviceTokenIssued(DomainEvent):
    """A member issued a new token for a device. The previous token was revoked."""

    name = "device.token_issued"


class DeviceStatusChanged(DomainEvent):
    """A device went online or offline."""

    name = "device.status_changed"

    status: str
    last_seen: datetime | None


class SiteEvent(DomainEvent):
    """Base of events about sites."""

    link: ClassVar[tuple[str, str] | None] = ("site_id", "admin:devices_site_change")

    site_id: str
    site: str  # its name


class SiteCreated(SiteEvent):
    """A site was created."""

    name = "site.created"


class SiteUpdated(SiteEvent):
    """A site was changed. `changes` contains the old and new values."""

    name = "site.updated"


class SiteDeleted(SiteEvent):
    """A site was deleted."""

    name = "site.deleted"
    link = None


class AttributeEvent(DomainEvent):
    """Base of events about the attributes that a tenant defines for its devices."""

    key: str
    label: str


class AttributeDefined(AttributeEvent):
    """An attribute of devices was created, or its label or choices were changed."""

    name = "attribute.defined"

    kind: str


class AttributeDeleted(AttributeEvent):
    """An attribute of devices was deleted, with its values."""

    name = "attribute.deleted"


class DeviceRetired(DomainEvent):
    """A device was retired. Its certificates and its token were revoked."""

    name = "device.retired"

    reason: str


class DeviceReplaced(DomainEvent):
    """New hardware took over the record of a device, which was retired."""

    name = "device.replaced"

    device_name: str
    successor_id: UUID


class DeviceQuarantined(DomainEvent):
    """A device was put into quarantine; `reason` contains the cause."""

    name = "device.quarantined"

    reason: str
    seen: list[str]  # the keys, tokens, boot ids or numbers that were seen, oldest first


class DeviceReleased(DomainEvent):
    """A member released a device from quarantine."""

    name = "device.released"


class IdentifierConflictFound(DomainEvent):
    """A device reported an identifier that another device holds.

    The holder keeps it. `device_id` is the holder's id.
    """

    name = "device.identifier_conflict"

    identifier: str  # kind and value, such as `mac_address:a8:bb:cc:dd:ee:0f`
    holder_name: str
    other_device_id: UUID | None  # None if the device waits for a member's decision
    other_device_name: str


class IdentifierConflictDecided(DomainEvent):
    """A member decided whether devices that report the same identifier are one device."""

    name = "device.identifier_conflict_decided"

    identifier: str
    decision: str  # "different" or "same"
    merged_device_id: UUID | None  # the retired record of the same device


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

    `cause` is `ingest` if no device of any tenant is online. The fault is then probably in
    this server. `cause` is `tenant` if any device is still online.
    """

    name = "fleet.silence"

    cause: str
    devices: int
    online_before: int
