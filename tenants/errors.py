"""Errors about tenants themselves."""

from core.errors import Missing


class NoSuchTenant(Missing):
    code = "tenant_not_found"
