"""What packages above take part in: subscribing to events, and naming devices."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from core.extension_points import ExtensionPoint

if TYPE_CHECKING:  # apps.py imports this module before there are models
    from events.domain_events import DomainEvent

DomainEventT = TypeVar("DomainEventT", bound="DomainEvent")
Subscriber = Callable[[Any], None]

subscribers: ExtensionPoint[Subscriber] = ExtensionPoint("event subscribers")
device_names: ExtensionPoint[Callable[[Collection[UUID]], dict[UUID, str]]] = (
    ExtensionPoint("names of devices")
)
devices_with_tag: ExtensionPoint[Callable[[str, Collection[UUID]], set[UUID]]] = (
    ExtensionPoint("devices with a tag")
)

# Deliveries written before release 2 name their subscriber by its old path.
RENAMED = {
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
    """Declare which events a subscriber takes; `apps.py` registers it at `subscribers`.

    It is called with each event of the kind at least once, in order per device, in a
    worker: under the event's tenant, inside a transaction that also removes the
    delivery. Calling it twice with the same event must do no harm.
    """

    def declare(
        subscriber: Callable[[DomainEventT], None],
    ) -> Callable[[DomainEventT], None]:
        _event_types[subscriber] = kind
        return subscriber

    return declare


def subscribers_of(name: str) -> dict[str, tuple[type[DomainEvent], Subscriber]]:
    """The subscribers of events of this name, with the event class, by dotted path."""
    return {
        f"{subscriber.__module__}.{subscriber.__qualname__}": (kind, subscriber)
        for subscriber in subscribers
        if (kind := _event_types[subscriber]).name == name
    }


def subscriber_at(name: str, path: str) -> tuple[type[DomainEvent], Subscriber] | None:
    """The subscriber that a delivery names; None if the code no longer has it."""
    return subscribers_of(name).get(RENAMED.get(path, path))


def names_of(device_ids: Collection[UUID]) -> dict[UUID, str]:
    """The display names of devices, in the current scope."""
    names: dict[UUID, str] = {}
    for lookup in device_names if device_ids else ():
        names |= lookup(device_ids)
    return names


def with_tag(tag: str, device_ids: Collection[UUID]) -> set[UUID]:
    """Those of the devices that have a tag of this name."""
    tagged: set[UUID] = set()
    for lookup in devices_with_tag if device_ids else ():
        tagged |= lookup(tag, device_ids)
    return tagged
