"""Monitoring rules on drift: alerts open at the threshold and close on convergence."""

from datetime import datetime, timedelta

import pytest

from accounts.services.tenants import create_tenant
from devices.configurations.documents import version_of
from devices.configurations.services import drift, reports
from devices.configurations.tests.documents import for_device
from devices.monitoring.errors import InvalidRule
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.services import back_testing, evaluation, rules
from devices.monitoring.tests.factories import RuleFactory
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db

LIMIT = timedelta(minutes=60)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def rule(tenant: Tenant) -> MonitoringRule:
    """After ninety minutes."""
    made: MonitoringRule = RuleFactory.create(
        tenant=tenant,
        name="Drift",
        kind="drift",
        measure="",
        operator="ge",
        threshold=90,
    )
    return made


@pytest.fixture
def drifting(tenant: Tenant, now: datetime) -> Device:
    """Online; since `now` it has not what it should have, and that was announced."""
    device: Device = DeviceFactory.create(tenant=tenant, status="online", last_seen=now)
    for_device(device, {"volume": 50}, now=now)
    for moment in (now + LIMIT / 2, now + LIMIT):
        drift.watch(now=moment, limit=LIMIT)
    return device


def passed(tenant: Tenant, now: datetime) -> None:
    with tenant_scope(tenant.pk):
        evaluation.evaluate_all(now=now)


def test_it_opens_an_alert_when_the_rules_time_is_up(
    rule: MonitoringRule, drifting: Device, tenant: Tenant, now: datetime
) -> None:
    passed(tenant, now + 90 * MINUTE - timedelta(seconds=1))
    assert not Alert.every_tenant.exists()
    passed(tenant, now + 90 * MINUTE)
    alert = Alert.every_tenant.get()
    assert (alert.device, alert.kind, alert.since) == (drifting, "drift", now)
    assert alert.title == "Drift: not applied for 90 min"


def test_it_closes_when_the_device_has_what_it_should_have(
    rule: MonitoringRule, drifting: Device, tenant: Tenant, now: datetime
) -> None:
    passed(tenant, now + 90 * MINUTE)
    later = now + 91 * MINUTE
    with tenant_scope(tenant.pk):
        version = version_of({"volume": 50})
        reports.report(device=drifting, version=version, outcome="applied", now=later)
    drift.watch(now=later, limit=LIMIT)
    passed(tenant, later)
    assert Alert.every_tenant.get().closing == "cause_gone"


def test_a_drift_that_was_not_announced_opens_nothing(
    rule: MonitoringRule, tenant: Tenant, device: Device, now: datetime
) -> None:
    for_device(device, {"volume": 50}, now=now)  # offline is not drifted
    passed(tenant, now + 10 * LIMIT)
    assert not Alert.every_tenant.exists()


def test_another_tenants_drift_opens_nothing(drifting: Device, now: datetime) -> None:
    other = TenantFactory.create()
    RuleFactory.create(
        tenant=other, kind="drift", measure="", operator="ge", threshold=1
    )
    passed(other, now + 10 * LIMIT)
    assert not Alert.every_tenant.exists()


def test_it_is_back_tested_by_what_the_audit_log_tells(
    rule: MonitoringRule, drifting: Device, tenant: Tenant, now: datetime
) -> None:
    with tenant_scope(tenant.pk):
        told = back_testing.back_test(rule, days=1, now=now + 91 * MINUTE)
    assert (told.alerts, told.devices, told.worst[0][3]) == (1, 1, now + 90 * MINUTE)


def test_a_drift_that_was_over_sooner_would_not_have_fired(
    rule: MonitoringRule, drifting: Device, tenant: Tenant, now: datetime
) -> None:
    with tenant_scope(tenant.pk):
        version = version_of({"volume": 50})
        reports.report(device=drifting, version=version, outcome="applied", now=now)
    drift.watch(now=now + 61 * MINUTE, limit=LIMIT)
    with tenant_scope(tenant.pk):
        told = back_testing.back_test(rule, days=1, now=now + 10 * LIMIT)
    assert told.alerts == 0


def test_a_rule_on_drift_counts_minutes(tenant: Tenant, now: datetime) -> None:
    with tenant_scope(tenant.pk):
        rule = rules.create(name="Drift", kind="drift", threshold=5, now=now)
        assert rule.operator == "ge"
        with pytest.raises(InvalidRule):
            rules.create(name="Never", kind="drift", threshold=0, now=now)


def test_new_tenants_begin_with_a_rule_on_drift(now: datetime) -> None:
    made = create_tenant(slug="new", now=now)
    with tenant_scope(made.tenant.pk):
        assert MonitoringRule.objects.filter(kind="drift").exists()
