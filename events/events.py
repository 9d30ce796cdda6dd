"""What happens to channels."""

from events.domain_events import DomainEvent


class ChannelEvent(DomainEvent):
    channel_id: str
    channel_name: str


class ChannelCreated(ChannelEvent):
    """Somebody outside is told of events from now on."""

    name = "channel.created"


class ChannelUpdated(ChannelEvent):
    """What is told, or to whom, was changed."""

    name = "channel.updated"


class ChannelDeleted(ChannelEvent):
    """Nobody is told over this channel any more."""

    name = "channel.deleted"


class ChannelSecretRotated(ChannelEvent):
    """There is a new secret; the former one is good for a while."""

    name = "channel.secret_rotated"


class ChannelTested(ChannelEvent):
    """A member wants to see whether it arrives."""

    name = "channel.tested"
