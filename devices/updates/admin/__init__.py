"""Portal pages. Django imports this module to register the admin classes."""

from devices.updates.admin import updates

__all__ = ["updates"]
