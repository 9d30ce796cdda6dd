"""Portal pages. Django imports this module to register the admin classes."""

from devices.remote_control.admin import commands

__all__ = ["commands"]
