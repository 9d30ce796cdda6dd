"""Events about notification channels."""

from typing import ClassVar

from events.domain_events import DomainEvent
from events.models.channel import TEST_NAME


class ChannelEvent(DomainEvent):
    link: ClassVar[tuple[str, str] | None] = ("channel_id", "admin:events_channel_change")

    channel_id: str
    channel_name: str


class ChannelCreated(ChannelEvent):
    """A channel was created."""

    name = "channel.created"


class ChannelUpdated(ChannelEvent):
    """The destination or the filter of a channel changed."""

    name = "channel.updated"


class ChannelDeleted(ChannelEvent):
    """A channel was deleted."""

    name = "channel.deleted"
    link = None


class ChannelSecretRotated(ChannelEvent):
    """A webhook has a new secret. The former secret is valid for another day."""

    name = "channel.secret_rotated"


class ChannelTested(ChannelEvent):
    """A member sent a test message."""

    name = TEST_NAME


class ChannelFailing(ChannelEvent):
    """Each message to a channel has failed for a day."""

    name = "channel.failing"

    since: str  # ISO 8601
    reason: str


class ChannelRecovered(ChannelEvent):
    """A message to a channel succeeded after `channel.failing`."""

    name = "channel.recovered"


class ChannelDisabled(ChannelEvent):
    """The server switched a channel off, because its receiver does not exist any more."""

    name = "channel.disabled"

    reason: str
