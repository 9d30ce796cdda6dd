"""What the registry refuses."""

from collections.abc import Iterable, Mapping
from typing import Any

from core.errors import Conflict, Detail, Invalid, Missing, Refused


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
    sentence = "There is no such device."


class DeviceIsRetired(Conflict):
    code = "device_retired"
    sentence = "The device is retired."


class DeviceIsQuarantined(Refused):
    """Two boxes seem to be this device: neither gets anything until a member decides."""

    code = "device_quarantined"
    sentence = "The device is in quarantine until a member releases it."


class NotQuarantined(Conflict):
    code = "device_not_quarantined"


class ReregistrationPending(Refused):
    code = "reregistration_pending"


class ReregistrationRefused(Refused):
    code = "reregistration_refused"


class NobodyAsks(Conflict):
    code = "reregistration_not_asked"


class AuthorizationPending(Invalid):
    """RFC 8628 §3.5: nobody has approved it yet."""

    code = "authorization_pending"


class SlowDown(Invalid):
    """RFC 8628 §3.5: asked too soon; the interval is five seconds longer from now on."""

    code = "slow_down"


class AccessDenied(Invalid):
    code = "access_denied"


class ExpiredToken(Invalid):
    code = "expired_token"


class NoSuchCode(Missing):
    code = "pairing_not_found"


class PairingDecided(Conflict):
    code = "pairing_decided"


class TooManyPairings(Refused):
    code = "too_many_pairings"


class InvalidFilter(Invalid):
    """A device filter with unknown names or values that are not accepted."""

    code = "invalid_filter"

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("This filter is not accepted.", field="filter")
        self.details = [
            Detail(code=self.code, sentence=sentence, field=f"filter.{name}")
            for name, sentence in faults.items()
        ]
