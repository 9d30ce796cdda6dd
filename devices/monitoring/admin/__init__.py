"""Portal pages. Django imports this module to register the admin classes."""

from devices.monitoring.admin import alerts, rules

__all__ = ["alerts", "rules"]
