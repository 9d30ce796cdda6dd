"""Portal pages of maintenance windows. Importing this package registers the admin class."""

from devices.maintenance.admin import windows

__all__ = ["windows"]
