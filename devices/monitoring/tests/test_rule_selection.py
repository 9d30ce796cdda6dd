"""The selection of rules that must be evaluated, for all tenants at once."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices.metrics.tests.reporting import at, report
from devices.monitoring.models import Alert, RuleOverride
from devices.monitoring.services.rule_selection import Needs, select_rules
from devices.monitoring.tasks import evaluate_tenant
from devices.monitoring.tests.evaluating import evaluate
from devices.monitoring.tests.factories import AlertFactory, RuleFactory, silence_rule
from devices.registry.tests.factories import DeviceFactory
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def test_rules_without_alerts_and_violations_are_left_out(tenant: Tenant, now: datetime) -> None:
    RuleFactory.create(tenant=tenant)
    silence_rule(tenant=tenant)
    device = DeviceFactory.create(tenant=tenant, status="online", last_seen=now)
    report(device, at(now, cpu_usage=90), now=now)

    assert select_rules(now=now) == {}


def test_a_violation_in_one_tenant_selects_its_rule_only(tenant: Tenant, now: datetime) -> None:
    rule, other = RuleFactory.create(tenant=tenant), RuleFactory.create()
    for owner, value in ((rule.tenant, 95), (other.tenant, 10)):
        device = DeviceFactory.create(tenant=owner, status="online")
        report(device, at(now, cpu_usage=value), now=now)

    assert select_rules(now=now) == {tenant.pk: {rule.pk: Needs(alerts=False, violations=True)}}


def test_a_rule_with_an_alert_is_selected_when_the_alert_would_change(
    tenant: Tenant, now: datetime
) -> None:
    rule = RuleFactory.create(
        tenant=tenant, severity="low", escalation_threshold=98, escalation_severity="high"
    )
    device = DeviceFactory.create(tenant=tenant, status="online")
    changed = {tenant.pk: {rule.pk: Needs(alerts=True, violations=False)}}
    report(device, at(now, cpu_usage=95), now=now)
    assert evaluate(tenant, now).opened == 1
    assert select_rules(now=now) == {}  # the alert stays as it is

    report(device, at(now + MINUTE, cpu_usage=99), now=now + MINUTE)
    assert select_rules(now=now + MINUTE) == changed
    assert evaluate(tenant, now + MINUTE).escalated == 1
    assert select_rules(now=now + MINUTE) == {}

    report(device, at(now + 2 * MINUTE, cpu_usage=10), now=now + 2 * MINUTE)
    assert select_rules(now=now + 2 * MINUTE) == changed
    assert evaluate(tenant, now + 2 * MINUTE).closed == 1
    assert select_rules(now=now + 2 * MINUTE) == {}


def test_an_alert_of_a_device_without_new_samples_stays_as_it_is(
    tenant: Tenant, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    device = DeviceFactory.create(tenant=tenant, status="online")
    report(device, at(now, cpu_usage=95), now=now)
    evaluate(tenant, now)

    assert select_rules(now=now + 60 * MINUTE) == {}


def test_a_rule_whose_threshold_is_no_time_is_evaluated_alone(
    tenant: Tenant, now: datetime
) -> None:
    rule = silence_rule(tenant=tenant, threshold=1e300)  # rejected by the service

    assert select_rules(now=now) == {tenant.pk: {rule.pk: Needs(alerts=False, violations=True)}}


def test_the_threshold_of_an_override_counts_too(tenant: Tenant, now: datetime) -> None:
    rule = RuleFactory.create(tenant=tenant)
    device = DeviceFactory.create(tenant=tenant, status="online")
    RuleOverride.every_tenant.create(tenant=tenant, rule=rule, device=device, threshold=50)
    report(device, at(now, cpu_usage=60), now=now)

    assert evaluate(tenant, now).opened == 1


def test_a_tenant_with_alerts_of_disabled_rules_only_is_selected(
    tenant: Tenant, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant, is_enabled=False)
    AlertFactory.create(tenant=tenant, rule=rule, device=DeviceFactory.create(tenant=tenant))

    assert select_rules(now=now) == {tenant.pk: {}}
    evaluate(tenant, now)
    assert Alert.every_tenant.get().closing == "not_watched"


def test_the_number_of_statements_does_not_depend_on_the_number_of_tenants(now: datetime) -> None:
    counts = []
    for _ in range(2):
        for rule in (RuleFactory.create(), silence_rule()):
            DeviceFactory.create(tenant=rule.tenant, status="online", last_seen=now)
        with CaptureQueriesContext(connection) as queries:
            select_rules(now=now)
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 6


def test_a_late_evaluation_is_left_out_and_logged(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    silence_rule(tenant=tenant)
    DeviceFactory.create(tenant=tenant, last_seen=timezone.now() - timedelta(hours=1))

    queued_at = (timezone.now() - 2 * MINUTE).isoformat()
    assert evaluate_tenant(str(tenant.pk), None, queued_at) == "late"

    assert not Alert.every_tenant.exists()
    assert "too slow" in caplog.text
