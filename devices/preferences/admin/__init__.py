"""Portal pages. Django imports this module to register the admin classes."""

from devices.preferences.admin import definitions

__all__ = ["definitions"]
