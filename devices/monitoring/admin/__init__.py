"""Portal pages of monitoring. Importing this package registers the admin classes."""

from devices.monitoring.admin import alerts, rules

__all__ = ["alerts", "rules"]
