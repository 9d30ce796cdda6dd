"""A cause that returns soon reopens the alert, which counts how often it was open."""

from datetime import datetime, timedelta

import pytest

from devices.monitoring.models import Alert
from devices.monitoring.services import alerts, evaluation, rules
from devices.monitoring.services.evaluation import EvaluationResult
from devices.monitoring.tests.evaluating import evaluate
from devices.monitoring.tests.factories import RuleFactory, silence_rule
from devices.monitoring.tests.test_evaluation import get_alert, report_cpu
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def device(tenant: Tenant) -> Device:
    device: Device = DeviceFactory.create(tenant=tenant, status="online")
    return device


def report_and_evaluate(
    tenant: Tenant, device: Device, now: datetime, value: float
) -> EvaluationResult:
    report_cpu(device, now, value)
    return evaluate(tenant, now)


def test_a_device_that_disconnects_four_times_in_ten_minutes_has_one_alert_that_counts(
    tenant: Tenant, now: datetime
) -> None:
    silence_rule(tenant=tenant, threshold=1)
    device = DeviceFactory.create(tenant=tenant, last_seen=now)
    for disconnect in range(4):
        last_seen = now + disconnect * 150 * SECOND
        Device.every_tenant.filter(pk=device.pk).update(last_seen=last_seen)
        evaluate(tenant, last_seen)
        evaluate(tenant, last_seen + 90 * SECOND)

    alert = get_alert()
    assert (alert.occurrences, alert.status) == (4, "open")
    assert (alert.opened_at, alert.reopened_at) == (now + 90 * SECOND, now + 540 * SECOND)
    assert Event.every_tenant.named("alert.opened").count() == 1
    reopened = Event.every_tenant.named("alert.reopened").order_by("id")
    assert [event.data["occurrences"] for event in reopened] == [2, 3, 4]


def test_a_cause_that_returns_later_opens_another_alert(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    for minute, value in ((0, 95), (1, 10)):
        report_and_evaluate(tenant, device, now + minute * MINUTE, value)

    result = report_and_evaluate(tenant, device, now + 16 * MINUTE, 95)

    assert result == EvaluationResult(opened=1)
    assert Alert.every_tenant.filter(occurrences=1).count() == 2


def test_a_cause_that_returns_during_a_longer_cool_down_reopens_the_alert(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, cool_down_seconds=3600)
    for minute, value in ((0, 95), (1, 10)):
        report_and_evaluate(tenant, device, now + minute * MINUTE, value)

    result = report_and_evaluate(tenant, device, now + 50 * MINUTE, 95)

    assert result == EvaluationResult(reopened=1)


def test_an_alert_closed_by_a_member_is_not_reopened(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, cool_down_seconds=300)
    report_and_evaluate(tenant, device, now, 95)
    with tenant_scope(tenant.pk):
        alerts.close(alert_id=get_alert().pk, now=now)
    report_and_evaluate(tenant, device, now + MINUTE, 10)

    assert report_and_evaluate(tenant, device, now + 2 * MINUTE, 95) == EvaluationResult()
    result = report_and_evaluate(tenant, device, now + 6 * MINUTE, 95)

    assert result == EvaluationResult(opened=1)


def test_a_reopened_alert_keeps_its_raised_severity_and_its_acknowledgement(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(
        tenant=tenant, severity="low", escalation_threshold=98, escalation_severity="critical"
    )
    report_and_evaluate(tenant, device, now, 99)
    with tenant_scope(tenant.pk):
        alerts.acknowledge(alert_id=get_alert().pk, now=now)
    report_and_evaluate(tenant, device, now + MINUTE, 10)

    report_and_evaluate(tenant, device, now + 2 * MINUTE, 95)

    assert (get_alert().severity, get_alert().status) == ("critical", "acknowledged")
    assert (get_alert().value, get_alert().closed_at, get_alert().closing) == (95, None, "")


def test_an_alert_of_a_rule_that_was_disabled_is_not_reopened(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    report_and_evaluate(tenant, device, now, 95)
    with tenant_scope(tenant.pk):
        rules.update(rule=rule, is_enabled=False, now=now)
        rules.update(rule=rule, is_enabled=True, now=now)

    assert evaluate(tenant, now + MINUTE) == EvaluationResult(opened=1)


def test_the_number_of_queries_does_not_depend_on_the_number_of_reopened_alerts(
    tenant: Tenant, now: datetime, django_assert_max_num_queries: object
) -> None:
    RuleFactory.create(tenant=tenant)
    fleet = [DeviceFactory.create(tenant=tenant, status="online") for _ in range(12)]
    for minute, value in ((0, 95), (1, 10), (2, 95)):
        for device in fleet:
            report_cpu(device, now + minute * MINUTE, value)
        with django_assert_max_num_queries(30):  # type: ignore[operator]
            result = evaluation.evaluate_all(now=now + minute * MINUTE)

    assert result == EvaluationResult(reopened=12)
