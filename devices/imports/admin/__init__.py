"""Portal pages of imports."""

from devices.imports.admin import imports

__all__ = ["imports"]
