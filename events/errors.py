"""How the events say no."""

from core.errors import Conflict, Invalid, Missing


class InvalidChannel(Invalid):
    code = "invalid_channel"


class NoSuchChannel(Missing):
    code = "channel_not_found"
    sentence = "There is no such channel."


class NoSuchMessage(Missing):
    code = "message_not_found"
    sentence = "There is no such message."


class ChannelExists(Conflict):
    code = "channel_exists"


class NotOver(Conflict):
    code = "message_waiting"
    sentence = "It is still being tried."


class EventIsGone(Conflict):
    code = "event_gone"
    sentence = "The event is not kept any more."


class TooManyTests(Conflict):
    code = "too_many_tests"
    sentence = "Other channels are being tried; try again in a moment."
