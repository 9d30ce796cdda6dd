"""Forget a site that is being deleted."""

from devices.monitoring.models import MonitoringRule, RuleOverride
from devices.registry.models import Site


def forget_site(site: Site) -> None:
    """Remove the site from archived rules, and the overrides of archived rules for it."""
    archived = MonitoringRule.every_tenant.filter(archived_at__isnull=False)
    RuleOverride.objects.filter(site=site, rule__in=archived).delete()
    archived.filter(site=site).update(site=None)
