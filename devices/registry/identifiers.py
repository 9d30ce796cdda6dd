"""Hardware identifiers: normalise them, and judge which of them identify nothing.

Pure functions over text. Boxes of one make often share a placeholder where an
identifier should be; taken at its word it would make thousands of boxes one device.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["serial_number", "android_id", "mac_address"]

MOST_MAC_ADDRESSES = 16
LONGEST = 64

_MAC_NOTATION = re.compile(
    r"[0-9a-f]{12}"
    r"|[0-9a-f]{2}(?P<mark>[:\-. ])(?:[0-9a-f]{2}(?P=mark)){4}[0-9a-f]{2}"
    r"|[0-9a-f]{4}(?P<wide>[:\-.])[0-9a-f]{4}(?P=wide)[0-9a-f]{4}"
)
_ANDROID_ID = re.compile(r"[0-9a-f]{1,64}")

BOGUS_MAC_ADDRESSES = frozenset(
    {
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "02:00:00:00:00:00",  # what Android answers an app that may not know
    }
)
BOGUS_ANDROID_IDS = frozenset(
    {
        "9774d56d682e549c",  # one firmware fault gave it to millions
        "dead00beef",
    }
)
BOGUS_SERIAL_NUMBERS = frozenset(
    {
        *("unknown", "none", "null", "n/a", "na", "undefined", "default", "serial"),
        *("0123456789abcdef", "0123456789", "123456789", "1234567890", "123456"),
        *("default string", "to be filled by o.e.m.", "system serial number"),
    }
)


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    """One normalised thing by which a box is known."""

    kind: Kind
    value: str


class NotAnIdentifier(ValueError):
    """The text has not the form of such an identifier."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(f"{text!r} is not a {kind.replace('_', ' ')}.")
        self.kind = kind


def mac_address(text: str) -> str:
    """Lower case with colons, from any usual notation.

    Raises:
        NotAnIdentifier: it is not six octets.
    """
    plain = text.strip().lower()
    if not _MAC_NOTATION.fullmatch(plain):
        raise NotAnIdentifier("mac_address", text)
    digits = re.sub(r"[^0-9a-f]", "", plain)
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def android_id(text: str) -> str:
    """Lower case hexadecimal.

    Raises:
        NotAnIdentifier: it is not hexadecimal.
    """
    plain = text.strip().lower()
    if not _ANDROID_ID.fullmatch(plain):
        raise NotAnIdentifier("android_id", text)
    return plain


def serial_number(text: str) -> str:
    """Without surrounding space; its case is the maker's.

    Raises:
        NotAnIdentifier: it is too long or has control characters.
    """
    plain = text.strip()
    if len(plain) > LONGEST or not plain.isprintable():
        raise NotAnIdentifier("serial_number", text)
    return plain


def is_bogus(identifier: Identifier) -> bool:
    """Whether many boxes share this value, so that it identifies none."""
    value = identifier.value
    match identifier.kind:
        case "mac_address":
            multicast = int(value[:2], 16) & 1 == 1
            return multicast or value in BOGUS_MAC_ADDRESSES
        case "android_id":
            return value in BOGUS_ANDROID_IDS or set(value) == {"0"}
        case "serial_number":
            return (
                value == ""
                or value.casefold() in BOGUS_SERIAL_NUMBERS
                or set(value) <= set("0-_. ")
                or set(value.casefold()) == {"x"}
            )


def identifying(
    *, serial: str = "", android: str = "", macs: Iterable[str] = ()
) -> tuple[list[Identifier], list[Identifier]]:
    """What a box says it is, in one fixed order.

    Returns:
        The identifiers, and beside them those that identify nothing.

    Raises:
        NotAnIdentifier: a text has not the form of its kind.
    """
    said: set[Identifier] = set()
    if serial.strip():
        said.add(Identifier("serial_number", serial_number(serial)))
    if android.strip():
        said.add(Identifier("android_id", android_id(android)))
    said.update(Identifier("mac_address", mac_address(mac)) for mac in macs)
    ordered = sorted(said)
    return (
        [identifier for identifier in ordered if not is_bogus(identifier)],
        [identifier for identifier in ordered if is_bogus(identifier)],
    )
