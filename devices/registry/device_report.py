"""What a box says about itself."""

from dataclasses import dataclass

from devices.registry.errors import InvalidIdentifier, NothingIdentifies
from devices.registry.identifiers import Identifier, NotAnIdentifier, identifying


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """What a box, or a member in its place, says about itself."""

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
        """Its identifiers, normalised and without those that many boxes share.

        Raises:
            InvalidIdentifier: one has not the form of its kind.
            NothingIdentifies: none is left.
        """
        try:
            good, bogus = identifying(
                serial=self.serial_number,
                android=self.android_id,
                macs=self.mac_addresses,
            )
        except NotAnIdentifier as error:
            name = "mac_addresses" if error.kind == "mac_address" else error.kind
            raise InvalidIdentifier(str(error), field=name) from error
        if not good:
            shared = ", ".join(identifier.value for identifier in bogus)
            reason = f" Many boxes share {shared}." if shared else ""
            raise NothingIdentifies(
                "A serial number, Android id or MAC address that only this device "
                f"has is needed.{reason}"
            )
        return good
