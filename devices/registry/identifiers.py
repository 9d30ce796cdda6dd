"""Normalise hardware identifiers and recognise values that do not identify a device.

Devices of one manufacturer often share a placeholder instead of a unique identifier.
Accepting a placeholder would merge thousands of devices into one.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

Kind = Literal["serial_number", "android_id", "mac_address"]
KINDS: tuple[Kind, ...] = get_args(Kind)

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
        "02:00:00:00:00:00",  # returned by Android to apps without permission
        "00:11:22:33:44:55",
        "11:22:33:44:55:66",
        "01:23:45:67:89:ab",
        "12:34:56:78:9a:bc",
        "aa:bb:cc:dd:ee:ff",
        "de:ad:be:ef:00:00",
        "00:00:00:00:00:01",
    }
)
PLACEHOLDER_ANDROID_IDS = frozenset(
    {
        "9774d56d682e549c",  # shared by millions of devices due to a firmware bug
        "dead00beef",
        "deadbeef",
    }
)
PLACEHOLDER_SERIAL_NUMBERS = frozenset(
    {
        "unknown",
        "none",
        "null",
        "n/a",
        "na",
        "nil",
        "undefined",
        "not specified",
        "not available",
        "default",
        "default string",
        "serial",
        "serialno",
        "serial number",
        "sn",
        "s/n",
        "test",
        "abcdef",
        "abcdefgh",
        "to be filled by o.e.m.",
        "to be filled by o.e.m",
        "to be filled",
        "(null)",
        "(none)",
        "<unknown>",
        "<null>",
        "[unknown]",
        "serial_number",
        "serialnumber",
        "serial-number",
        "1234567890abcdef",
        "20080411",  # of a reference design
        "to be filled by oem",
        "system serial number",
        "oem",
        "generic",
        "android",
        "android tv",
        "box",
        "tv box",
        # names of manufacturers of chips, which are written in place of a number
        "allwinner",
        "amlogic",
        "broadcom",
        "hisilicon",
        "intel",
        "mediatek",
        "mstar",
        "novatek",
        "nvidia",
        "qualcomm",
        "realtek",
        "rockchip",
        "sunxi",
        "sigmastar",
    }
)
# Digits that a person types or a factory writes for want of a number.
_SEQUENCES = ("01234567890123456789", "12345678901234567890", "98765432109876543210")
_HEX_SEQUENCES = ("0123456789abcdef", "123456789abcdef0", "123456789abcdef", "fedcba9876543210")
_MIN_SEQUENCE = 4  # characters; a shorter run may be a real number


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    """A normalised hardware identifier, and how the device or the member has written it."""

    kind: Kind
    value: str
    written: str = field(default="", compare=False)


def identifier_of(kind: str, value: str, written: str = "") -> Identifier:
    """Return an identifier whose kind is the value of a column."""
    return Identifier(cast(Kind, kind), value, written)


def label(identifier: Identifier) -> str:
    """Return the kind of an identifier for people, such as `serial number`."""
    return _LABELS[identifier.kind]


class MalformedIdentifier(ValueError):
    """A text does not have the format of its kind of identifier."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(f"{text[:80]!r} is not a valid {_LABELS[kind]}.")
        self.kind = kind


@dataclass(frozen=True, slots=True)
class ParsedIdentifiers:
    """The identifiers of one device, each list sorted by kind and value."""

    usable: list[Identifier]
    placeholders: list[Identifier]
    malformed: list[MalformedIdentifier]


def fold(text: str) -> str:
    """Return a text without differences of case, width and composition (NFKC).

    Surrounding whitespace is removed.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def end_of_mac_address(text: str) -> str | None:
    """Return the last digits of a MAC address as it would end, such as `e:0f` for `E0F`.

    Separators are ignored.

    Returns:
        None if the text is not 4 to 12 hexadecimal digits.
    """
    digits = re.sub(r"[-:.\s]", "", fold(text))
    if not re.fullmatch(r"[0-9a-f]{4,12}", digits):
        return None
    pairs = [digits[max(end - 2, 0) : end] for end in range(len(digits), 0, -2)]
    return ":".join(reversed(pairs))


def mac_address(text: str) -> str:
    """Return a MAC address in lower case with colons.

    The octets may be separated by colons, hyphens, dots or spaces. Groups of four digits
    may be separated by colons, hyphens or dots. Separators may be omitted.

    Raises:
        MalformedIdentifier: the text is not six octets.
    """
    normalized = fold(text)
    if not _MAC_NOTATION.fullmatch(normalized):
        raise MalformedIdentifier("mac_address", text)
    digits = re.sub(r"[^0-9a-f]", "", normalized)
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def android_id(text: str) -> str:
    """Return an Android ID in lower case.

    Raises:
        MalformedIdentifier: the text is not 1 to 64 hexadecimal digits.
    """
    normalized = fold(text)
    if not _ANDROID_ID.fullmatch(normalized):
        raise MalformedIdentifier("android_id", text)
    return normalized


def serial_number(text: str) -> str:
    """Return a serial number for comparison: without differences of case and width.

    Raises:
        MalformedIdentifier: the text is too long or contains control characters.
    """
    normalized = fold(text)
    if max(len(text.strip()), len(normalized)) > MAX_LENGTH or not text.strip().isprintable():
        raise MalformedIdentifier("serial_number", text)
    return normalized


def is_placeholder(identifier: Identifier) -> bool:
    """Return True if the value is a placeholder that many devices share."""
    value = identifier.value
    match identifier.kind:
        case "mac_address":
            is_multicast = int(value[:2], 16) & 1 == 1
            is_uniform = len(set(value.split(":"))) == 1
            return is_multicast or is_uniform or value in PLACEHOLDER_MAC_ADDRESSES
        case "android_id":
            return value in PLACEHOLDER_ANDROID_IDS or _is_filler(value)
        case "serial_number":
            return value in PLACEHOLDER_SERIAL_NUMBERS or _is_filler(value)


def is_locally_administered(identifier: Identifier) -> bool:
    """Return True for a MAC address that the device has chosen itself, perhaps at random.

    Its second lowest bit of the first octet is set (IEEE 802-2014, 8.2).
    """
    return identifier.kind == "mac_address" and int(identifier.value[:2], 16) & 2 == 2


def parse_identifiers(
    *, serial: str = "", android: str = "", macs: Iterable[str] = ()
) -> ParsedIdentifiers:
    """Normalise the identifiers of a device and remove duplicates."""
    found: set[Identifier] = set()
    malformed: list[MalformedIdentifier] = []
    texts: list[tuple[Kind, str]] = [("serial_number", serial), ("android_id", android)]
    texts += [("mac_address", mac) for mac in macs]
    for kind, text in texts:
        if not text.strip():
            continue
        written = text.strip() if kind == "serial_number" else ""
        try:
            found.add(Identifier(kind, _NORMALIZERS[kind](text), written))
        except MalformedIdentifier as error:
            malformed.append(error)
    ordered = sorted(found)
    return ParsedIdentifiers(
        usable=[identifier for identifier in ordered if not is_placeholder(identifier)],
        placeholders=[identifier for identifier in ordered if is_placeholder(identifier)],
        malformed=malformed,
    )


_NORMALIZERS = {
    "serial_number": serial_number,
    "android_id": android_id,
    "mac_address": mac_address,
}


def _is_filler(value: str) -> bool:
    """Return True for a run of one character, a counted sequence, or punctuation only."""
    characters = re.sub(r"[-_. :/]", "", value)
    if not any(map(str.isalnum, characters)):
        return True
    if len(set(characters)) == 1:
        return characters.isdigit() or "x" in characters or len(characters) >= _MIN_SEQUENCE
    if len(characters) < _MIN_SEQUENCE:
        return characters == "123"
    if characters == "".join(sorted(characters, reverse=True)) and characters.isdigit():
        return int(characters[0]) - int(characters[-1]) == len(characters) - 1  # such as 54321
    return characters in _HEX_SEQUENCES or any(item.startswith(characters) for item in _SEQUENCES)
