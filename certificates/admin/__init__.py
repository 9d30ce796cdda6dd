"""Portal pages of this app. Django imports this package to register the admin classes."""

from certificates.admin import authorities, certificates

__all__ = ["authorities", "certificates"]
