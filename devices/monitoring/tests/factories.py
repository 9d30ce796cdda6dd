"""Factories of rules and alerts for tests."""

from datetime import UTC, datetime
from typing import Any

from factory import Sequence, SubFactory

from devices.monitoring.models import Alert, MonitoringRule
from tenants.tests.factories import EveryTenantFactory, TenantFactory


class RuleFactory(EveryTenantFactory):
    """Create rules. By default, a rule alerts on CPU usage above 90 %."""

    class Meta:
        model = MonitoringRule

    tenant = SubFactory(TenantFactory)
    name = Sequence("Rule {}".format)
    kind = "metric"
    measure = "cpu_usage"
    operator = "gt"
    threshold = 90
    created_at = datetime(2026, 1, 1, tzinfo=UTC)


def silence_rule(**fields: Any) -> MonitoringRule:
    """Create a rule on silence. By default, the threshold is five minutes."""
    defaults = {"kind": "silence", "measure": "", "operator": "ge", "threshold": 5}
    rule: MonitoringRule = RuleFactory.create(**{**defaults, **fields})
    return rule


class AlertFactory(EveryTenantFactory):
    class Meta:
        model = Alert

    tenant = SubFactory(TenantFactory)
    kind = "metric"
    severity = "high"
    title = Sequence("Alert {}".format)
    since = datetime(2026, 3, 1, 12, tzinfo=UTC)
    opened_at = datetime(2026, 3, 1, 12, tzinfo=UTC)
