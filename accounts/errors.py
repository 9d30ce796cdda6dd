"""Errors raised by the services for tenants, members, tokens and second factors."""

from core.errors import Busy, Conflict, Gone, Invalid, Missing, Refused


class TenantExists(Conflict):
    code = "tenant_exists"


class UserNotFound(Missing):
    code = "user_not_found"


class InvalidTenant(Invalid):
    code = "tenant_invalid"


class AlreadyMember(Conflict):
    code = "already_member"


class InvitationEnded(Gone):
    code = "invitation_ended"
    sentence = "This invitation is not valid any more. Ask for a new one."


class InvitationForOtherAddress(Refused):
    code = "invitation_for_other_address"
    sentence = "This invitation is for another e-mail address. Sign out, and open the link again."


class AddressNotProved(Refused):
    code = "address_not_proved"
    sentence = (
        "Prove first that this e-mail address is yours: sign out, and set a new password by mail."
    )


class TooManyInvitations(Busy):
    code = "too_many_invitations"

    def __init__(self, *, retry_after: int) -> None:
        super().__init__("Too many invitations. Try again later.", retry_after=retry_after)


class InvalidPassword(Invalid):
    code = "invalid_password"


class LastOwner(Conflict):
    code = "last_owner"


class RoleTooLow(Refused):
    code = "role_too_low"


class WrongCode(Invalid):
    code = "wrong_code"


class TooManyAttempts(Refused):
    code = "too_many_codes"


class SecondFactorRequired(Refused):
    code = "second_factor_required"
    sentence = "This tenant requires a second factor. Set it up in the portal first."


class SecondFactorRefused(Refused):
    code = "second_factor_refused"


class ProviderFault(Invalid):
    """A provider of single sign-on cannot be used, or has not authenticated anybody."""

    code = "provider_fault"


class SignInRefused(Refused):
    """The provider has authenticated a person who may not use this tenant."""

    code = "sign_in_refused"


class InvalidProvider(Invalid):
    code = "invalid_provider"


class SuspendedByOperator(Refused):
    code = "suspended_by_operator"
    sentence = "The operator of the server has suspended this tenant, and only they can resume it."


class InvalidIdempotencyKey(Invalid):
    code = "invalid_idempotency_key"
    sentence = "An Idempotency-Key has 1 to 255 printable characters."


class IdempotencyKeyReused(Conflict):
    code = "idempotency_key_reused"
    sentence = "Another request had this Idempotency-Key. Use a new key for each request."


class RequestInProgress(Conflict):
    code = "request_in_progress"
    sentence = "The first request with this Idempotency-Key has not ended. Try again in a moment."


class OutcomeUnknown(Conflict):
    code = "outcome_unknown"
    sentence = (
        "The first request with this Idempotency-Key was interrupted. Look what it has done, and"
        " use a new key."
    )


class DeletionNotConfirmed(Invalid):
    code = "deletion_not_confirmed"
    sentence = "Type the slug of the tenant to confirm its deletion."


class DeletionHasBegun(Conflict):
    code = "deletion_has_begun"
    sentence = "The waiting time is over, and this tenant is being deleted."
