"""Errors raised by look-ups of tenants, and by saved views."""

from core.errors import Invalid, Missing


class NoSuchTenant(Missing):
    code = "tenant_not_found"


class InvalidView(Invalid):
    code = "invalid_view"


class NoSuchView(Missing):
    code = "view_not_found"
    sentence = "There is no such view."
