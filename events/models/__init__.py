"""What happened, who hears of it inside, and who is told outside."""

from events.models.channel import Channel, ChannelDelivery, ChannelDeliveryQuerySet
from events.models.event import (
    Delivery,
    DeliveryQuerySet,
    Event,
    EventQuerySet,
    Seal,
    Unsealed,
)

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
