"""Portal pages. Django imports this module to register the admin classes."""

from devices.registry.admin import devices, enrollment_tokens

__all__ = ["devices", "enrollment_tokens"]
