"""Errors raised by look-ups of tenants, and by saved views."""

from core.errors import Invalid, Missing, Refused


class NoSuchTenant(Missing):
    code = "tenant_not_found"


class InvalidView(Invalid):
    code = "invalid_view"


class NoSuchView(Missing):
    code = "view_not_found"
    sentence = "There is no such view."


class TenantSuspended(Refused):
    code = "tenant_suspended"
    sentence = "The tenant is suspended. Ask its owner or the operator of the server."
