"""What the registry refuses."""

from collections.abc import Iterable
from typing import Any

from provisioning.errors import Conflict, Invalid, Missing, Refused


class InvalidIdentifier(Invalid):
    code = "identifier_invalid"


class NothingIdentifies(Invalid):
    """Not one identifier that tells this box from every other."""

    code = "identifier_required"


class IdentifiersDisagree(Conflict):
    """The identifiers belong to different devices."""

    code = "identifiers_disagree"

    def __init__(self, devices: Iterable[Any]) -> None:
        named = ", ".join(f"{device.name} ({device.pk})" for device in devices)
        super().__init__(f"The identifiers belong to different devices: {named}.")


class AlreadyRegistered(Conflict):
    code = "device_already_registered"


class EnrollmentTokenUsedUp(Refused):
    code = "enrollment_token_used_up"


class InvalidEnrollmentToken(Invalid):
    code = "enrollment_token_invalid"


class InvalidTag(Invalid):
    code = "tag_invalid"


class NoSuchDevice(Missing):
    code = "device_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such device.")


class DeviceIsRetired(Conflict):
    code = "device_retired"

    def __init__(self) -> None:
        super().__init__("The device is retired.")
