"""Extension points of events: subscribers, device names and device tags."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from core.extension_points import ExtensionPoint

if TYPE_CHECKING:  # apps.py imports this module before models are loaded
    from events.domain_events import DomainEvent

DomainEventT = TypeVar("DomainEventT", bound="DomainEvent")
Subscriber = Callable[[Any], None]

subscribers: ExtensionPoint[Subscriber] = ExtensionPoint("event subscribers")
device_names: ExtensionPoint[Callable[[Collection[UUID]], dict[UUID, str]]] = ExtensionPoint(
    "names of devices"
)
devices_with_tag: ExtensionPoint[Callable[[str, Collection[UUID]], set[UUID]]] = ExtensionPoint(
    "devices with a tag"
)

# A callback returns the ids of devices of any tenant whose name contains a text, at most as many
# as the number says.
devices_named: ExtensionPoint[Callable[[str, int], list[UUID]]] = ExtensionPoint(
    "devices with a name"
)

# Deliveries written before release 2 contain the former path of their subscriber.
FORMER_PATHS = {
    "certificates.receivers.revocation_destroys_the_key": (
        "certificates.services.subscribers.destroy_key_of_revoked_certificate"
    ),
    "devices.configurations.receivers.other_tags_are_other_layers": (
        "devices.configurations.services.subscribers.recalculate_after_tag_change"
    ),
    "devices.monitoring.receivers.fleet_silence_opens_an_incident": (
        "devices.monitoring.services.subscribers.open_incident_for_fleet_silence"
    ),
}

_event_types: dict[Subscriber, type[DomainEvent]] = {}


def on(
    kind: type[DomainEventT],
) -> Callable[[Callable[[DomainEventT], None]], Callable[[DomainEventT], None]]:
    """Return a decorator that declares the event class of a subscriber.

    `apps.py` registers the subscriber at `subscribers`. A worker calls the subscriber at
    least once with each event of the class, in order per device. The call runs in the scope
    of the event's tenant, in a transaction that also deletes the delivery. A subscriber must
    be idempotent, because it may be called twice with the same event.
    """

    def declare(subscriber: Callable[[DomainEventT], None]) -> Callable[[DomainEventT], None]:
        _event_types[subscriber] = kind
        return subscriber

    return declare


def subscribers_of(name: str) -> dict[str, tuple[type[DomainEvent], Subscriber]]:
    """Return each subscriber of an event and the subscriber's event class, by dotted path."""
    return {
        f"{subscriber.__module__}.{subscriber.__qualname__}": (kind, subscriber)
        for subscriber in subscribers
        if (kind := _event_types[subscriber]).name == name
    }


def subscriber_at(name: str, path: str) -> tuple[type[DomainEvent], Subscriber] | None:
    """Return the event class and the subscriber with a dotted path, None if it was removed."""
    return subscribers_of(name).get(FORMER_PATHS.get(path, path))


def names_of(device_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the display names of the given devices, by id."""
    names: dict[UUID, str] = {}
    for lookup in device_names if device_ids else ():
        names |= lookup(device_ids)
    return names


def with_tag(tag: str, device_ids: Collection[UUID]) -> set[UUID]:
    """Return the ids of the given devices that have a tag of this name."""
    tagged: set[UUID] = set()
    for lookup in devices_with_tag if device_ids else ():
        tagged |= lookup(tag, device_ids)
    return tagged


def ids_of_devices_named(text: str, limit: int) -> list[UUID]:
    """Return the ids of at most `limit` visible devices whose name contains the text."""
    return [device_id for lookup in devices_named for device_id in lookup(text, limit)][:limit]
