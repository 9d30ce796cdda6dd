"""Portal pages. Django imports this module to register the admin classes."""

from certificates.admin import authorities, certificates

__all__ = ["authorities", "certificates"]
