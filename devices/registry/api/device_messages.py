"""Read the messages of devices that are already registered."""

from rest_framework.request import Request

from core import clock
from core.rest.tolerant import Message, TolerantSerializer, read_message
from devices.registry.api.authentication import calling_device
from devices.registry.services import unreadable_fields


def read_device_message(serializer: TolerantSerializer, request: Request) -> Message:
    """Read a message of the calling device, and note for its members what is not usable.

    Raises:
        ValidationError: nothing in the message is usable.
    """
    message = read_message(serializer, request)
    if message.ignored:
        unreadable_fields.note(calling_device(request), message.ignored, now=clock.now())
    return message
