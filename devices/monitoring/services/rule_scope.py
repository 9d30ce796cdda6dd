"""The devices that a rule is about."""

from django.db.models import QuerySet

from devices.monitoring.models import MonitoringRule
from devices.registry.models import Device
from devices.registry.services.sites import ids_below


def in_scope(rule: MonitoringRule) -> QuerySet[Device]:
    """Return the current tenant's unretired devices in the scope of a rule."""
    devices = Device.objects.not_retired()
    if rule.scope == MonitoringRule.Scope.TAG:
        return devices.filter(device_tags__tag=rule.tag_id)
    if rule.scope == MonitoringRule.Scope.SITE:
        assert rule.site_id is not None
        return devices.filter(site__in=ids_below(rule.site_id))
    if rule.scope == MonitoringRule.Scope.DEVICE:
        assert rule.device_id is not None
        return devices.filter(pk=rule.device_id)
    return devices
