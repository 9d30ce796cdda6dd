"""What happens to channels."""

from dataclasses import dataclass
from typing import ClassVar

from events.services.outbox import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFact(Fact):
    channel_id: str
    channel_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelCreated(ChannelFact):
    """Somebody outside is told of events from now on."""

    name: ClassVar = "channel.created"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelUpdated(ChannelFact):
    """What is told, or to whom, was changed."""

    name: ClassVar = "channel.updated"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDeleted(ChannelFact):
    """Nobody is told over this channel any more."""

    name: ClassVar = "channel.deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSecretRotated(ChannelFact):
    """There is a new secret; the former one is good for a while."""

    name: ClassVar = "channel.secret_rotated"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelTested(ChannelFact):
    """A member wants to see whether it arrives."""

    name: ClassVar = "channel.tested"
