"""Normalise hardware identifiers and recognise placeholder values.

Devices of one manufacturer often share a placeholder instead of a unique identifier.
Accepting a placeholder would merge thousands of devices into one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["serial_number", "android_id", "mac_address"]

MAX_MAC_ADDRESSES = 16
MAX_LENGTH = 64  # characters

_MAC_NOTATION = re.compile(
    r"[0-9a-f]{12}"
    r"|[0-9a-f]{2}(?P<mark>[:\-. ])(?:[0-9a-f]{2}(?P=mark)){4}[0-9a-f]{2}"
    r"|[0-9a-f]{4}(?P<wide>[:\-.])[0-9a-f]{4}(?P=wide)[0-9a-f]{4}"
)
_ANDROID_ID = re.compile(r"[0-9a-f]{1,64}")
_LABELS: dict[Kind, str] = {
    "serial_number": "serial number",
    "android_id": "Android ID",
    "mac_address": "MAC address",
}

PLACEHOLDER_MAC_ADDRESSES = frozenset(
    {
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "02:00:00:00:00:00",  # returned by Android to apps without permission
    }
)
PLACEHOLDER_ANDROID_IDS = frozenset(
    {
        "9774d56d682e549c",  # shared by millions of devices due to a firmware bug
        "dead00beef",
    }
)
PLACEHOLDER_SERIAL_NUMBERS = frozenset(
    {
        "unknown",
        "none",
        "null",
        "n/a",
        "na",
        "undefined",
        "default",
        "serial",
        "0123456789abcdef",
        "0123456789",
        "123456789",
        "1234567890",
        "123456",
        "default string",
        "to be filled by o.e.m.",
        "system serial number",
    }
)


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    """A normalised hardware identifier."""

    kind: Kind
    value: str


class MalformedIdentifier(ValueError):
    """A text does not have the format of its kind of identifier."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(f"{text!r} is not a valid {_LABELS[kind]}.")
        self.kind = kind


def mac_address(text: str) -> str:
    """Return a MAC address in lower case with colons.

    The octets may be separated by colons, hyphens, dots or spaces. Groups of four digits
    may be separated by colons, hyphens or dots. Separators may be omitted.

    Raises:
        MalformedIdentifier: the text is not six octets.
    """
    normalized = text.strip().lower()
    if not _MAC_NOTATION.fullmatch(normalized):
        raise MalformedIdentifier("mac_address", text)
    digits = re.sub(r"[^0-9a-f]", "", normalized)
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def android_id(text: str) -> str:
    """Return an Android ID in lower case.

    Raises:
        MalformedIdentifier: the text is not 1 to 64 hexadecimal digits.
    """
    normalized = text.strip().lower()
    if not _ANDROID_ID.fullmatch(normalized):
        raise MalformedIdentifier("android_id", text)
    return normalized


def serial_number(text: str) -> str:
    """Return a serial number without surrounding whitespace. Its case is significant.

    Raises:
        MalformedIdentifier: the text is too long or contains control characters.
    """
    normalized = text.strip()
    if len(normalized) > MAX_LENGTH or not normalized.isprintable():
        raise MalformedIdentifier("serial_number", text)
    return normalized


def is_placeholder(identifier: Identifier) -> bool:
    """Return True if the value is a placeholder that many devices share."""
    value = identifier.value
    match identifier.kind:
        case "mac_address":
            is_multicast = int(value[:2], 16) & 1 == 1
            return is_multicast or value in PLACEHOLDER_MAC_ADDRESSES
        case "android_id":
            return value in PLACEHOLDER_ANDROID_IDS or set(value) == {"0"}
        case "serial_number":
            return (
                value == ""
                or value.casefold() in PLACEHOLDER_SERIAL_NUMBERS
                or set(value) <= set("0-_. ")
                or set(value.casefold()) == {"x"}
            )


def parse_identifiers(
    *, serial: str = "", android: str = "", macs: Iterable[str] = ()
) -> tuple[list[Identifier], list[Identifier]]:
    """Normalise the identifiers of a device and remove duplicates.

    Returns:
        A list of the usable identifiers and a list of the placeholders. Each list is sorted by
        kind and value.

    Raises:
        MalformedIdentifier: a text does not have the format of its kind.
    """
    identifiers: set[Identifier] = set()
    if serial.strip():
        identifiers.add(Identifier("serial_number", serial_number(serial)))
    if android.strip():
        identifiers.add(Identifier("android_id", android_id(android)))
    identifiers.update(Identifier("mac_address", mac_address(mac)) for mac in macs)
    ordered = sorted(identifiers)
    return (
        [identifier for identifier in ordered if not is_placeholder(identifier)],
        [identifier for identifier in ordered if is_placeholder(identifier)],
    )
