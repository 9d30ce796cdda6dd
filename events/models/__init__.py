"""Models of events, their deliveries to subscribers and channels, and the audit log."""

from events.models.channel import Channel, ChannelDelivery, ChannelDeliveryQuerySet
from events.models.event import Delivery, DeliveryQuerySet, Event, EventQuerySet, Seal, Unsealed

__all__ = [
    "Channel",
    "ChannelDelivery",
    "ChannelDeliveryQuerySet",
    "Delivery",
    "DeliveryQuerySet",
    "Event",
    "EventQuerySet",
    "Seal",
    "Unsealed",
]
