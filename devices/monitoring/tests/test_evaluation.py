"""Evaluation of rules: opening, escalating and closing alerts."""

from datetime import datetime, time, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.metrics.tests.reporting import at, every_five_minutes, report
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.services import alerts, evaluation, rules
from devices.monitoring.services.evaluation import EvaluationResult
from devices.monitoring.tests.evaluating import evaluate
from devices.monitoring.tests.factories import RuleFactory, silence_rule
from devices.registry.models import Device, DeviceTag
from devices.registry.services import retirement
from devices.registry.tests.factories import DeviceFactory, TagFactory
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture
def device(tenant: Tenant) -> Device:
    device: Device = DeviceFactory.create(tenant=tenant, status="online")
    return device


def report_cpu(device: Device, now: datetime, value: float) -> None:
    report(device, at(now, cpu_usage=value), now=now)


def get_alert() -> Alert:
    return Alert.every_tenant.get()


def test_a_value_beyond_the_threshold_opens_one_alert(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant, name="CPU", severity="high")
    report_cpu(device, now, 95.5)

    assert evaluate(tenant, now) == EvaluationResult(opened=1)
    assert evaluate(tenant, now + MINUTE) == EvaluationResult()

    alert = get_alert()
    assert (alert.rule, alert.device, alert.severity) == (rule, device, "high")
    assert (alert.value, alert.title) == (95.5, "CPU: 95.5 %")
    event = Event.every_tenant.named("alert.opened").get()
    assert (event.device_id, event.data["severity"]) == (device.pk, "high")


@pytest.mark.parametrize(
    ("operator", "value", "opens"),
    [
        ("gt", 90, False),
        ("gt", 91, True),
        ("ge", 90, True),
        ("ge", 89, False),
        ("lt", 90, False),
        ("lt", 89, True),
        ("le", 90, True),
        ("le", 91, False),
    ],
)
def test_the_operator_determines_which_values_open_an_alert(
    tenant: Tenant, device: Device, now: datetime, operator: str, value: float, opens: bool
) -> None:
    RuleFactory.create(tenant=tenant, operator=operator)
    report_cpu(device, now, value)

    assert evaluate(tenant, now).opened == int(opens)


def test_an_alert_closes_when_its_cause_is_gone(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    report_cpu(device, now, 95)
    evaluate(tenant, now)
    report_cpu(device, now + MINUTE, 90)

    assert evaluate(tenant, now + MINUTE) == EvaluationResult(closed=1)

    assert (get_alert().status, get_alert().closing) == ("closed", "cause_gone")
    assert Event.every_tenant.named("alert.closed").count() == 1


def test_a_value_between_the_thresholds_neither_opens_nor_closes_an_alert(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, clear_threshold=70)
    report_cpu(device, now, 85)
    assert evaluate(tenant, now).opened == 0
    report_cpu(device, now + MINUTE, 95)
    evaluate(tenant, now + MINUTE)
    report_cpu(device, now + 2 * MINUTE, 85)
    assert evaluate(tenant, now + 2 * MINUTE).closed == 0
    report_cpu(device, now + 3 * MINUTE, 70)

    assert evaluate(tenant, now + 3 * MINUTE).closed == 1


@pytest.mark.parametrize(
    ("values", "opens"),
    [
        ([95, 95, 95], True),  # violated for ten minutes
        ([10, 95, 95], False),  # violated for five minutes
        ([95, 10, 95], False),
        ([95, 95, 10], False),
    ],
)
def test_an_alert_opens_if_every_sample_of_the_duration_violates_the_rule(
    tenant: Tenant, device: Device, now: datetime, values: list[float], opens: bool
) -> None:
    RuleFactory.create(tenant=tenant, lasting_seconds=600)
    report(device, *every_five_minutes(now - 10 * MINUTE, values), now=now)

    assert evaluate(tenant, now).opened == int(opens)


def test_a_late_sample_does_not_open_an_alert(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    report_cpu(device, now, 10)
    report(device, at(now - 5 * MINUTE, cpu_usage=99), now=now)

    assert evaluate(tenant, now).opened == 0


def test_an_open_alert_is_escalated(tenant: Tenant, device: Device, now: datetime) -> None:
    RuleFactory.create(
        tenant=tenant, severity="medium", escalation_threshold=98, escalation_severity="critical"
    )
    report_cpu(device, now, 95)
    evaluate(tenant, now)
    report_cpu(device, now + MINUTE, 99)

    assert evaluate(tenant, now + MINUTE) == EvaluationResult(escalated=1)
    assert evaluate(tenant, now + 2 * MINUTE) == EvaluationResult()

    assert (get_alert().severity, get_alert().value) == ("critical", 99)
    event = Event.every_tenant.named("alert.escalated").get()
    assert event.changes == {"severity": ["medium", "critical"]}


def test_an_alert_opens_escalated_if_the_value_is_beyond_the_escalation_threshold(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, escalation_threshold=98, escalation_severity="critical")
    report_cpu(device, now, 99)
    evaluate(tenant, now)

    assert get_alert().severity == "critical"


@pytest.mark.parametrize(("hour", "opens"), [(9, True), (20, False)])
def test_alerts_open_only_within_the_opening_hours(
    tenant: Tenant, device: Device, now: datetime, hour: int, opens: bool
) -> None:
    RuleFactory.create(tenant=tenant, opens_at=time(8), closes_at=time(18))
    time_of_day = now.replace(hour=hour)
    report_cpu(device, time_of_day, 95)

    assert evaluate(tenant, time_of_day).opened == int(opens)


@pytest.mark.parametrize(
    ("no_data", "expected"), [("keep", EvaluationResult()), ("close", EvaluationResult(closed=1))]
)
def test_missing_data_keeps_or_closes_an_alert_as_the_rule_defines(
    tenant: Tenant, device: Device, now: datetime, no_data: str, expected: EvaluationResult
) -> None:
    RuleFactory.create(tenant=tenant, no_data=no_data)
    report_cpu(device, now, 95)
    evaluate(tenant, now)

    assert evaluate(tenant, now + 16 * MINUTE) == expected


def test_missing_data_opens_an_alert_if_the_rule_defines_it(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, no_data="open", name="CPU")
    report_cpu(device, now, 10)
    assert evaluate(tenant, now).opened == 0

    assert evaluate(tenant, now + 16 * MINUTE).opened == 1
    assert get_alert().title == "CPU: no data"
    report_cpu(device, now + 17 * MINUTE, 10)
    assert evaluate(tenant, now + 17 * MINUTE).closed == 1


def test_silence_opens_an_alert_and_a_contact_closes_it(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    silence_rule(tenant=tenant, name="Offline")
    report_cpu(device, now, 10)
    assert evaluate(tenant, now + 4 * MINUTE) == EvaluationResult()

    assert evaluate(tenant, now + 5 * MINUTE) == EvaluationResult(opened=1)
    assert (get_alert().title, get_alert().since) == ("Offline: silent for 5 min", now)
    report_cpu(device, now + 6 * MINUTE, 10)
    assert evaluate(tenant, now + 6 * MINUTE) == EvaluationResult(closed=1)


def test_a_device_without_any_contact_so_far_is_not_silent(tenant: Tenant, now: datetime) -> None:
    silence_rule(tenant=tenant)
    DeviceFactory.create(tenant=tenant)

    assert evaluate(tenant, now) == EvaluationResult()


def test_an_expiring_certificate_opens_an_alert_until_it_is_replaced(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(
        tenant=tenant, name="Expiring", kind="certificate", measure="", operator="le", threshold=30
    )
    service = CertificateManagementService()

    def issue(moment: datetime) -> None:
        service.issue_certificate(device=device, csr_pem=request_for(ec_key()), now=moment)

    issue(now - timedelta(days=340))
    assert evaluate(tenant, now) == EvaluationResult()  # it has never connected
    Device.every_tenant.update(last_seen=now)
    assert evaluate(tenant, now) == EvaluationResult(opened=1)
    assert get_alert().title == "Expiring: expires in 25 days"
    issue(now)
    assert evaluate(tenant, now + MINUTE) == EvaluationResult(closed=1)


def test_a_rule_applies_to_the_devices_in_its_scope(tenant: Tenant, now: datetime) -> None:
    plain, tagged, chosen = DeviceFactory.create_batch(3, tenant=tenant)
    tag = TagFactory.create(tenant=tenant, name="hall")
    DeviceTag.every_tenant.create(tenant=tenant, device=tagged, tag=tag)
    tag_rule = RuleFactory.create(tenant=tenant, scope="tag", tag=tag)
    device_rule = RuleFactory.create(tenant=tenant, scope="device", device=chosen)
    for device in (plain, tagged, chosen):
        report_cpu(device, now, 95)

    evaluate(tenant, now)

    alerts = set(Alert.every_tenant.values_list("rule_id", "device_id"))
    assert alerts == {(tag_rule.pk, tagged.pk), (device_rule.pk, chosen.pk)}


def test_a_rule_does_not_apply_to_another_tenants_devices(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    foreign_device = DeviceFactory.create()
    report_cpu(foreign_device, now, 99)

    assert evaluate(tenant, now) == EvaluationResult()
    assert evaluate(foreign_device.tenant, now) == EvaluationResult()


@pytest.fixture
def tag(tenant: Tenant, device: Device) -> Any:
    tag = TagFactory.create(tenant=tenant, name="hall")
    DeviceTag.every_tenant.create(tenant=tenant, device=device, tag=tag)
    return tag


def override(rule: MonitoringRule, now: datetime, **fields: Any) -> None:
    with tenant_scope(rule.tenant_id):
        subject = {name: fields.pop(name, None) for name in ("tag", "device")}
        rules.override(rule=rule, subject=subject, now=now, **fields)


def test_a_tag_override_applies_and_a_device_override_takes_precedence(
    tenant: Tenant, device: Device, tag: Any, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    other = DeviceFactory.create(tenant=tenant)
    override(rule, now, tag=tag, threshold=50, severity="low")
    report_cpu(device, now, 60)
    report_cpu(other, now, 60)

    assert evaluate(tenant, now) == EvaluationResult(opened=1)
    assert (get_alert().device, get_alert().severity) == (device, "low")

    override(rule, now, device=device, threshold=70)
    assert evaluate(tenant, now) == EvaluationResult(closed=1)


def test_an_override_may_set_a_longer_duration(
    tenant: Tenant, device: Device, tag: Any, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    override(rule, now, tag=tag, lasting_seconds=600)
    report_cpu(device, now, 95)
    assert evaluate(tenant, now).opened == 0
    for minute in (5, 10):
        report_cpu(device, now + minute * MINUTE, 95)

    assert evaluate(tenant, now + 10 * MINUTE).opened == 1


def test_an_override_may_disable_a_rule(
    tenant: Tenant, device: Device, tag: Any, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    report_cpu(device, now, 95)
    evaluate(tenant, now)

    override(rule, now, device=device, is_enabled=False)

    assert evaluate(tenant, now) == EvaluationResult(closed=1)
    assert get_alert().closing == "not_watched"
    assert evaluate(tenant, now) == EvaluationResult()


def test_an_override_may_enable_a_disabled_rule(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant, is_enabled=False)
    other = DeviceFactory.create(tenant=tenant)
    override(rule, now, device=device, is_enabled=True)
    report_cpu(device, now, 95)
    report_cpu(other, now, 95)

    assert evaluate(tenant, now) == EvaluationResult(opened=1)
    assert get_alert().device == device


def test_contradicting_overrides_do_not_open_and_close_alerts_repeatedly(
    tenant: Tenant, device: Device, tag: Any, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    override(rule, now, tag=tag, threshold=70, clear_threshold=60)
    override(rule, now, device=device, clear_threshold=85)
    report_cpu(device, now, 75)

    assert evaluate(tenant, now) == EvaluationResult(opened=1)
    assert evaluate(tenant, now) == EvaluationResult()


def test_an_escalation_never_lowers_the_severity(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant, escalation_threshold=98, escalation_severity="high")
    override(rule, now, device=device, severity="critical")
    report_cpu(device, now, 99)

    assert evaluate(tenant, now) == EvaluationResult(opened=1)
    assert evaluate(tenant, now) == EvaluationResult()
    assert get_alert().severity == "critical"


def test_revoking_a_certificate_closes_its_alert(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, kind="certificate", measure="", operator="le", threshold=30)
    service = CertificateManagementService()
    certificate = service.issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=now - timedelta(days=340)
    )
    Device.every_tenant.update(last_seen=now)
    evaluate(tenant, now)
    service.revoke_certificate(certificate, reason="superseded", now=now)

    assert evaluate(tenant, now) == EvaluationResult(closed=1)


def test_the_next_evaluation_closes_alerts_of_a_disabled_rule(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    report_cpu(device, now, 95)
    evaluate(tenant, now)
    MonitoringRule.every_tenant.filter(pk=rule.pk).update(is_enabled=False)

    assert evaluate(tenant, now) == EvaluationResult(closed=1)


def test_a_database_error_in_one_rule_does_not_affect_other_rules(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    silence_rule(tenant=tenant, name="A", threshold=1e300)  # rejected by the service
    RuleFactory.create(tenant=tenant, name="B")
    report_cpu(device, now, 95)

    assert evaluate(tenant, now) == EvaluationResult(opened=1)


def test_disabling_a_rule_closes_its_alerts(tenant: Tenant, device: Device, now: datetime) -> None:
    rule = RuleFactory.create(tenant=tenant)
    report_cpu(device, now, 95)
    evaluate(tenant, now)

    with tenant_scope(tenant.pk):
        rules.update(rule=rule, now=now, is_enabled=False)

    assert get_alert().closing == "not_watched"
    assert evaluate(tenant, now) == EvaluationResult()


def test_the_alerts_of_a_retired_device_are_closed(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    report_cpu(device, now, 95)
    evaluate(tenant, now)
    with tenant_scope(tenant.pk):
        retirement.retire(device=device, now=now)

    assert evaluate(tenant, now) == EvaluationResult(closed=1)


def test_an_alert_closed_by_a_member_does_not_reopen_until_its_cause_has_gone(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    report_cpu(device, now, 95)
    evaluate(tenant, now)
    with tenant_scope(tenant.pk):
        alerts.close(alert_id=get_alert().pk, now=now)
    assert evaluate(tenant, now) == EvaluationResult()
    report_cpu(device, now + MINUTE, 10)
    assert evaluate(tenant, now + MINUTE) == EvaluationResult()  # settled without an event
    report_cpu(device, now + 2 * MINUTE, 95)

    assert evaluate(tenant, now + 2 * MINUTE) == EvaluationResult(opened=1)


def test_the_number_of_queries_does_not_depend_on_the_number_of_devices(
    tenant: Tenant, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, lasting_seconds=300)
    silence_rule(tenant=tenant)

    def count_queries(count: int) -> int:
        for device in DeviceFactory.create_batch(count, tenant=tenant, status="online"):
            report(device, *every_five_minutes(now - 5 * MINUTE, [95, 95]), now=now)
        with CaptureQueriesContext(connection) as captured:
            assert evaluation.evaluate_all(now=now).opened == count
        return len(captured)

    assert count_queries(1) == count_queries(40)


def test_an_immediate_check_evaluates_metric_rules_of_the_given_devices_only(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    silence_rule(tenant=tenant)
    other = DeviceFactory.create(tenant=tenant)
    report_cpu(device, now, 95)
    report_cpu(other, now, 95)

    result = evaluation.evaluate_devices([device.pk], now=now)
    assert result == EvaluationResult(opened=1)
    assert get_alert().device == device
