"""Errors raised by the services of the device registry."""

from collections.abc import Iterable, Mapping
from typing import Any

from core.errors import Conflict, Detail, Invalid, Missing, Refused


class InvalidIdentifier(Invalid):
    code = "identifier_invalid"


class IdentifierRequired(Invalid):
    """The report contains no identifier that is unique to the device."""

    code = "identifier_required"
    sentence = (
        "A serial number, Android ID or MAC address that is unique to the device is required."
    )


class IdentityUndecided(Conflict):
    """It is not certain which device the identifiers belong to. A member must decide."""

    code = "identity_undecided"

    def __init__(self, devices: Iterable[Any]) -> None:
        names = ", ".join(f"{device.name} ({device.pk})" for device in devices)
        super().__init__(
            f"The identifiers belong to {names}, or to another device. Decide this on the page"
            " Identifier conflicts, then try again."
        )


class AlreadyRegistered(Conflict):
    code = "device_already_registered"


class EnrollmentTokenUsedUp(Refused):
    code = "enrollment_token_used_up"


class InvalidEnrollmentToken(Invalid):
    code = "enrollment_token_invalid"


class InvalidTag(Invalid):
    code = "tag_invalid"


class InvalidSite(Invalid):
    code = "site_invalid"


class SiteExists(Conflict):
    code = "site_exists"


class SiteNotFound(Missing):
    code = "site_not_found"
    sentence = "The site does not exist."


class SiteInUse(Conflict):
    code = "site_in_use"


class DeviceNotFound(Missing):
    code = "device_not_found"
    sentence = "The device does not exist."


class CannotReplace(Conflict):
    code = "cannot_replace"


class InvalidMove(Invalid):
    code = "invalid_move"


class DeviceIsRetired(Conflict):
    code = "device_retired"
    sentence = "The device is retired."


class DeviceIsQuarantined(Refused):
    """The device is in quarantine. Only its `connect` requests are accepted."""

    code = "device_quarantined"
    sentence = "The device is in quarantine until a member releases it."


class NotQuarantined(Conflict):
    code = "device_not_quarantined"


class ReregistrationPending(Refused):
    code = "reregistration_pending"


class ReregistrationRefused(Refused):
    code = "reregistration_refused"


class ConflictNotFound(Missing):
    code = "conflict_not_found"
    sentence = "The identifier conflict does not exist."


class ConflictIsDecided(Conflict):
    code = "conflict_decided"
    sentence = "The identifier conflict has already been decided."


class TooManyConflictingDevices(Conflict):
    """More than two devices report the value, so they cannot be the same device."""

    code = "too_many_conflicting_devices"
    sentence = "More than two devices report this value, so they cannot be the same device."


class ReregistrationNotRequested(Conflict):
    code = "reregistration_not_requested"


class AuthorizationPending(Invalid):
    """No member has approved the pairing yet (RFC 8628 §3.5)."""

    code = "authorization_pending"


class SlowDown(Invalid):
    """The device polled too soon. The poll interval grows by five seconds (RFC 8628 §3.5)."""

    code = "slow_down"


class AccessDenied(Invalid):
    code = "access_denied"


class ExpiredToken(Invalid):
    code = "expired_token"


class PairingNotFound(Missing):
    code = "pairing_not_found"


class PairingAlreadyDecided(Conflict):
    code = "pairing_decided"


class TooManyPairings(Refused):
    code = "too_many_pairings"


class InvalidFilter(Invalid):
    """A device filter contains unknown parameters or invalid values.

    Args:
        faults: the error messages by parameter name.
    """

    code = "invalid_filter"

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("The device filter is invalid.", field="filter")
        self.details = [
            Detail(code=self.code, sentence=sentence, field=f"filter.{name}")
            for name, sentence in faults.items()
        ]


class InvalidSubject(Invalid):
    """There is no such tag or device, or the name of a device is not unique."""

    code = "invalid_subject"


class InvalidAttribute(Invalid):
    """The definition of an attribute is not valid."""

    code = "invalid_attribute"


class InvalidAttributeValue(Invalid):
    """A value of an attribute does not fit its definition, or there is no such attribute."""

    code = "invalid_attribute_value"


class AttributeNotFound(Missing):
    code = "attribute_not_found"
    sentence = "There is no such attribute."
