"""Errors raised by the services for channels and messages."""

from core.errors import Busy, Conflict, Invalid, Missing


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


class MessageWaiting(Conflict):
    code = "message_waiting"
    sentence = "The message is waiting to be sent."


class EventGone(Conflict):
    code = "event_gone"
    sentence = "The event of this message was deleted because its retention period has ended."


class TooManyTests(Busy):
    code = "too_many_tests"

    def __init__(self, *, retry_after: int) -> None:
        sentence = f"Too many tests of channels. Try again in {retry_after} seconds."
        super().__init__(sentence, retry_after=retry_after)
