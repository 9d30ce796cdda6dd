"""The data that a device sends about itself when it registers or pairs."""

from dataclasses import dataclass

from devices.registry.errors import IdentifierRequired, InvalidIdentifier
from devices.registry.identifiers import Identifier, MalformedIdentifier, parse_identifiers


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """The identifiers, hardware and versions of a device.

    The data is sent by the device or entered by a member. The screen size is in
    pixels. An empty string or None means that a value is not specified.
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
    name: str = ""

    def identifiers(self) -> list[Identifier]:
        """Return the normalised identifiers of the device. Placeholder values are omitted.

        Raises:
            InvalidIdentifier: an identifier has the wrong format.
            IdentifierRequired: there is no identifier, or all are placeholders.
        """
        try:
            identifiers, placeholders = parse_identifiers(
                serial=self.serial_number, android=self.android_id, macs=self.mac_addresses
            )
        except MalformedIdentifier as error:
            name = "mac_addresses" if error.kind == "mac_address" else error.kind
            raise InvalidIdentifier(str(error), field=name) from error
        if not identifiers:
            ignored = ", ".join(identifier.value for identifier in placeholders)
            reason = f" Ignored placeholder values: {ignored}." if ignored else ""
            raise IdentifierRequired(
                "A serial number, Android ID or MAC address that is unique to the "
                f"device is required.{reason}"
            )
        return identifiers
