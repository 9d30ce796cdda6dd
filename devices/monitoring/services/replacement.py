"""Give the rules and overrides for a device to the device that replaces it."""

from datetime import datetime

from devices.monitoring.models import MonitoringRule, RuleOverride
from devices.registry.models import Device


def move_rules(failed: Device, by: Device, now: datetime) -> None:
    """Let the rules and overrides for the failed device be about the new device.

    An override that the new device has already is kept.
    """
    MonitoringRule.objects.filter(device=failed).update(device=by)
    own = RuleOverride.objects.filter(device=by).values("rule")
    RuleOverride.objects.filter(device=failed).exclude(rule__in=own).update(device=by)
