"""Portal pages. Django imports this module to register the admin classes."""

from devices.configurations.admin import layers

__all__ = ["layers"]
