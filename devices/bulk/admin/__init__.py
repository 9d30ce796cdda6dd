"""Portal pages of bulk operations."""

from devices.bulk.admin import operations

__all__ = ["operations"]
