"""Errors raised by look-ups of tenants."""

from core.errors import Missing


class NoSuchTenant(Missing):
    code = "tenant_not_found"
