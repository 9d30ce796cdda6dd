"""Portal pages of the registry. Importing this package registers the admin classes."""

from devices.registry.admin import (
    attributes,
    conflicts,
    devices,
    enrollment_tokens,
    sites,
    unreadable_fields,
)

__all__ = ["attributes", "conflicts", "devices", "enrollment_tokens", "sites", "unreadable_fields"]
