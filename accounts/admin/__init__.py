"""Portal pages. Django imports this module to register the admin classes."""

from accounts.admin import accounts, invitations

__all__ = ["accounts", "invitations"]
