"""Portal pages. Django imports this module to register the admin classes."""

from accounts.admin import accounts, invitations, single_sign_on, tenants

__all__ = ["accounts", "invitations", "single_sign_on", "tenants"]
