"""Errors raised by the services for tenants, members, tokens and second factors."""

from core.errors import Conflict, Invalid, Missing, Refused


class TenantExists(Conflict):
    code = "tenant_exists"


class UserNotFound(Missing):
    code = "user_not_found"


class InvalidTenant(Invalid):
    code = "tenant_invalid"


class AlreadyMember(Conflict):
    code = "already_member"


class FirstSignInPending(Conflict):
    """The user was invited by another tenant and has never signed in."""

    code = "first_sign_in_pending"


class LastOwner(Conflict):
    code = "last_owner"


class RoleTooLow(Refused):
    code = "role_too_low"


class WrongCode(Invalid):
    code = "wrong_code"


class TooManyAttempts(Refused):
    code = "too_many_codes"


class SecondFactorRefused(Refused):
    code = "second_factor_refused"
