"""What could not be used of a device's message."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ignored:
    """A part of a device's message that was dropped or changed."""

    field: str  # dotted path in the message
    code: str
    detail: str  # a sentence for people
