"""Monitoring rules on drift: alerts open at the threshold and close on convergence."""

from datetime import datetime, timedelta

import pytest

from accounts.services.tenants import create_tenant
from devices.configurations.documents import version_of
from devices.configurations.services import drift, reports
from devices.configurations.tests.documents import save_for_device
from devices.monitoring.errors import InvalidRule
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.services import back_testing, rules
from devices.monitoring.tests.evaluating import evaluate
from devices.monitoring.tests.factories import RuleFactory
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from events.services import delivery
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db

LIMIT = timedelta(minutes=60)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def rule(tenant: Tenant) -> MonitoringRule:
    """A monitoring rule on drift with a threshold of 90 minutes."""
    rule: MonitoringRule = RuleFactory.create(
        tenant=tenant, name="Drift", kind="drift", measure="", operator="ge", threshold=90
    )
    return rule


@pytest.fixture
def drifting(tenant: Tenant, now: datetime) -> Device:
    """An online device whose drift began at `now` and has been announced."""
    device: Device = DeviceFactory.create(tenant=tenant, status="online", last_seen=now)
    save_for_device(device, {"volume": 50}, now=now)
    for moment in (now + LIMIT / 2, now + LIMIT):
        drift.detect(now=moment, limit=LIMIT)
    return device


def test_an_alert_opens_at_the_threshold(
    rule: MonitoringRule, drifting: Device, tenant: Tenant, now: datetime
) -> None:
    evaluate(tenant, now + 90 * MINUTE - timedelta(seconds=1))
    assert not Alert.every_tenant.exists()
    evaluate(tenant, now + 90 * MINUTE)
    alert = Alert.every_tenant.get()
    assert (alert.device, alert.kind, alert.since) == (drifting, "drift", now)
    assert alert.title == "Drift: not applied for 90 min"


def test_an_alert_closes_when_the_device_converges(
    rule: MonitoringRule, drifting: Device, tenant: Tenant, now: datetime
) -> None:
    evaluate(tenant, now + 90 * MINUTE)
    later = now + 91 * MINUTE
    with tenant_scope(tenant.pk):
        version = version_of({"volume": 50})
        reports.report(device=drifting, version=version, outcome="applied", now=later)
    drift.detect(now=later, limit=LIMIT)
    evaluate(tenant, later)
    assert Alert.every_tenant.get().closing == "cause_gone"


def test_an_unannounced_drift_opens_no_alert(
    rule: MonitoringRule, tenant: Tenant, device: Device, now: datetime
) -> None:
    save_for_device(device, {"volume": 50}, now=now)  # offline devices do not drift
    evaluate(tenant, now + 10 * LIMIT)
    assert not Alert.every_tenant.exists()


def test_a_drift_of_another_tenant_opens_no_alert(drifting: Device, now: datetime) -> None:
    other = TenantFactory.create()
    RuleFactory.create(tenant=other, kind="drift", measure="", operator="ge", threshold=1)
    evaluate(other, now + 10 * LIMIT)
    assert not Alert.every_tenant.exists()


def test_a_back_test_reads_drifts_from_the_audit_log(
    rule: MonitoringRule, drifting: Device, tenant: Tenant, now: datetime
) -> None:
    with tenant_scope(tenant.pk):
        result = back_testing.back_test(rule, days=1, now=now + 91 * MINUTE)
    assert (result.alerts, result.devices, result.worst[0][3]) == (1, 1, now + 90 * MINUTE)


def test_a_back_test_ignores_drifts_below_the_threshold(
    rule: MonitoringRule, drifting: Device, tenant: Tenant, now: datetime
) -> None:
    with tenant_scope(tenant.pk):
        version = version_of({"volume": 50})
        reports.report(device=drifting, version=version, outcome="applied", now=now)
    drift.detect(now=now + 61 * MINUTE, limit=LIMIT)
    with tenant_scope(tenant.pk):
        result = back_testing.back_test(rule, days=1, now=now + 10 * LIMIT)
    assert result.alerts == 0


def test_a_drift_rule_requires_a_threshold_of_at_least_one_minute(
    tenant: Tenant, now: datetime
) -> None:
    with tenant_scope(tenant.pk):
        rule = rules.create(name="Drift", kind="drift", threshold=5, now=now)
        assert rule.operator == "ge"
        with pytest.raises(InvalidRule):
            rules.create(name="Never", kind="drift", threshold=0, now=now)


def test_a_new_tenant_has_a_drift_rule(now: datetime) -> None:
    created = create_tenant(slug="new", now=now)
    delivery.deliver(now=now)
    with tenant_scope(created.tenant.pk):
        assert MonitoringRule.objects.filter(kind="drift").exists()
