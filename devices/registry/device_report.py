"""The data that a device sends about itself when it registers or pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.ignored import Ignored
from devices.registry.errors import IdentifierRequired, InvalidIdentifier
from devices.registry.identifiers import (
    MAX_MAC_ADDRESSES,
    Identifier,
    Kind,
    ParsedIdentifiers,
    parse_identifiers,
)

_FIELDS: dict[Kind, str] = {
    "serial_number": "serial_number",
    "android_id": "android_id",
    "mac_address": "mac_addresses",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """The identifiers, hardware and versions of a device.

    The data is sent by the device or entered by a member. The screen size is in
    pixels. `abis` are Android's names of what the processor runs, such as `arm64-v8a`.
    `signature_algorithms` are those that the device can verify. An empty value or None means that
    a value is not specified.
    """

    serial_number: str = ""
    android_id: str = ""
    mac_addresses: tuple[str, ...] = ()
    manufacturer: str = ""
    model: str = ""
    os_version: str = ""
    app_version: str = ""
    screen_width: int | None = None
    screen_height: int | None = None
    abis: Sequence[str] = ()
    signature_algorithms: Sequence[str] = ()
    name: str = ""

    def usable_identifiers(self) -> tuple[list[Identifier], list[Ignored]]:
        """Return the normalised identifiers of a device's message, and what is not usable.

        Raises:
            IdentifierRequired: no identifier is usable.
        """
        parsed = self._parsed(self.mac_addresses[:MAX_MAC_ADDRESSES])
        ignored = [
            Ignored(_FIELDS[error.kind], InvalidIdentifier.code, str(error))
            for error in parsed.malformed
        ]
        ignored += [
            Ignored(_FIELDS[item.kind], "placeholder", _placeholder_sentence(item))
            for item in parsed.placeholders
        ]
        if len(self.mac_addresses) > MAX_MAC_ADDRESSES:
            sentence = f"Only the first {MAX_MAC_ADDRESSES} MAC addresses are used."
            ignored.append(Ignored("mac_addresses", "max_length", sentence))
        if not parsed.usable:
            reasons = " ".join(item.detail for item in ignored)
            raise IdentifierRequired(f"{IdentifierRequired.sentence} {reasons}".strip())
        return parsed.usable, ignored

    def identifiers(self) -> list[Identifier]:
        """Return the normalised identifiers that a member has entered.

        Raises:
            InvalidIdentifier: an identifier has the wrong format, or is a placeholder that
                many devices share.
            IdentifierRequired: there is no identifier.
        """
        parsed = self._parsed(self.mac_addresses)
        for error in parsed.malformed:
            raise InvalidIdentifier(str(error), field=_FIELDS[error.kind])
        for item in parsed.placeholders:
            raise InvalidIdentifier(_placeholder_sentence(item), field=_FIELDS[item.kind])
        if not parsed.usable:
            raise IdentifierRequired
        return parsed.usable

    def _parsed(self, macs: tuple[str, ...]) -> ParsedIdentifiers:
        return parse_identifiers(serial=self.serial_number, android=self.android_id, macs=macs)


def _placeholder_sentence(item: Identifier) -> str:
    return f"Many devices have the value {item.written or item.value}, so it identifies none."


def field_of(item: Identifier) -> str:
    """Return the name of the field in which a device reports this kind of identifier."""
    return _FIELDS[item.kind]
