"""Portal pages of the registry. Importing this package registers the admin classes."""

from devices.registry.admin import devices, enrollment_tokens

__all__ = ["devices", "enrollment_tokens"]
