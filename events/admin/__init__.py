"""Portal pages. Django imports this module to register the admin classes."""

from events.admin import channels, events

__all__ = ["channels", "events"]
