"""The evaluation of the rules of all tenants at once, and its punctuality."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from core import clock
from devices.metrics.tests.reporting import at, report
from devices.monitoring import queries
from devices.monitoring.models import Alert, FormEvaluation, RuleOverride
from devices.monitoring.services import evaluation, evaluation_times
from devices.monitoring.services.evaluation import EvaluationResult
from devices.monitoring.tasks import evaluate_form
from devices.monitoring.tests.evaluating import evaluate
from devices.monitoring.tests.factories import AlertFactory, RuleFactory, silence_rule
from devices.registry.tests.factories import DeviceFactory, TagFactory
from events.models import Event
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def test_a_violation_opens_an_alert_of_its_own_tenant_only(tenant: Tenant, now: datetime) -> None:
    rule, other = RuleFactory.create(tenant=tenant), RuleFactory.create()
    for owner, value in ((rule.tenant, 95), (other.tenant, 10)):
        device = DeviceFactory.create(tenant=owner, status="online")
        report(device, at(now, cpu_usage=value), now=now)

    assert evaluate(tenant, now) == EvaluationResult(opened=1)
    assert Alert.every_tenant.get().tenant == tenant


def test_alerts_of_several_tenants_open_reopen_escalate_and_close_together(now: datetime) -> None:
    escalation = {"severity": "low", "escalation_threshold": 98, "escalation_severity": "high"}
    rules = [RuleFactory.create(threshold=threshold, **escalation) for threshold in (60, 90)]
    devices = [DeviceFactory.create(tenant=rule.tenant, status="online") for rule in rules]

    def evaluate_with(value: int, minute: int) -> EvaluationResult:
        moment = now + minute * MINUTE
        for device in devices:
            report(device, at(moment, cpu_usage=value), now=moment)
        return evaluation.evaluate_all(now=moment)

    assert evaluate_with(95, 0) == EvaluationResult(opened=2)
    assert evaluate_with(10, 1) == EvaluationResult(closed=2)
    assert evaluate_with(95, 2) == EvaluationResult(reopened=2)
    assert evaluate_with(99, 3) == EvaluationResult(escalated=2)
    alerts = Alert.every_tenant.order_by("rule__threshold")
    assert [alert.device for alert in alerts] == devices
    assert [alert.tenant for alert in alerts] == [rule.tenant for rule in rules]
    events = Event.every_tenant.named("alert.escalated")
    assert {event.tenant_id for event in events} == {rule.tenant_id for rule in rules}


def test_an_alert_of_a_device_without_new_samples_stays_as_it_is(
    tenant: Tenant, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    device = DeviceFactory.create(tenant=tenant, status="online")
    report(device, at(now, cpu_usage=95), now=now)
    evaluate(tenant, now)

    assert evaluate(tenant, now + 60 * MINUTE) == EvaluationResult()


@pytest.mark.parametrize("threshold", [1e300, -1e300])
def test_a_threshold_that_is_no_interval_is_limited(
    tenant: Tenant, now: datetime, threshold: float
) -> None:
    silence_rule(tenant=tenant, threshold=threshold)  # rejected by the service
    DeviceFactory.create(tenant=tenant, last_seen=now - 60 * MINUTE)

    assert evaluate(tenant, now).opened == (threshold < 0)


def test_the_values_of_overrides_have_their_precedence_one_by_one(
    tenant: Tenant, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant, severity="low")
    device = DeviceFactory.create(tenant=tenant, status="online")
    for name, values in (("b", {"threshold": 99}), ("a", {"severity": "critical"})):
        tag = TagFactory.create(tenant=tenant, name=name)
        device.device_tags.create(tenant=tenant, tag=tag)
        RuleOverride.every_tenant.create(tenant=tenant, rule=rule, tag=tag, **values)
    RuleOverride.every_tenant.create(tenant=tenant, rule=rule, device=device, threshold=50)
    report(device, at(now, cpu_usage=60), now=now)

    assert evaluate(tenant, now).opened == 1
    assert Alert.every_tenant.get().severity == "critical"


def test_alerts_of_disabled_rules_are_settled_without_an_enabled_rule(
    tenant: Tenant, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant, is_enabled=False)
    AlertFactory.create(tenant=tenant, rule=rule, device=DeviceFactory.create(tenant=tenant))

    evaluate(tenant, now)
    assert Alert.every_tenant.get().closing == "not_watched"


def test_a_rule_that_fails_does_not_hold_up_the_rules_evaluated_with_it(now: datetime) -> None:
    rules = [RuleFactory.create() for _ in range(3)]
    for rule in rules:
        device = DeviceFactory.create(tenant=rule.tenant, status="online")
        report(device, at(now, cpu_usage=95), now=now)
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE monitoring_alert ADD CONSTRAINT fault"
            f" CHECK (rule_id <> '{rules[1].pk}') NOT VALID"
        )

    evaluation.evaluate_all(now=now)
    assert {alert.rule for alert in Alert.every_tenant.all()} == {rules[0], rules[2]}


def test_the_number_of_statements_does_not_depend_on_the_number_of_tenants(now: datetime) -> None:
    counts = []
    for _ in range(2):
        DeviceFactory.create(tenant=silence_rule().tenant, last_seen=now - 60 * MINUTE)
        device = DeviceFactory.create(tenant=RuleFactory.create().tenant, status="online")
        report(device, at(now, cpu_usage=95), now=now)
        with CaptureQueriesContext(connection) as captured:
            assert evaluation.evaluate_all(now=now).opened == 2
        counts.append(len(captured))

    assert counts[0] == counts[1]


def test_a_queued_evaluation_that_waited_too_long_is_left_out(tenant: Tenant) -> None:
    rule = silence_rule(tenant=tenant)
    DeviceFactory.create(tenant=tenant, last_seen=timezone.now() - 60 * MINUTE)
    (form,) = queries.forms()
    evaluation_times.expect([form], now=timezone.now())

    assert evaluate_form(list(form), (timezone.now() - 2 * MINUTE).isoformat()) == "late"
    assert not Alert.every_tenant.exists()
    evaluate_form(list(form), timezone.now().isoformat())
    assert Alert.every_tenant.get().rule == rule


def test_two_workers_do_not_evaluate_the_same_rules_at_the_same_time(
    tenant: Tenant, now: datetime
) -> None:
    silence_rule(tenant=tenant)
    (form,) = queries.forms()
    evaluation_times.expect([form], now=now)

    with evaluation_times.evaluation_of(form, now=now) as is_first:
        with evaluation_times.evaluation_of(form, now=now + MINUTE) as is_second:
            assert (is_first, is_second) == (True, False)
        after_the_lease = now + evaluation_times.LEASE + MINUTE
        with evaluation_times.evaluation_of(form, now=after_the_lease) as is_third:
            assert is_third


def test_rules_that_were_not_evaluated_for_minutes_are_reported_once(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    silence_rule(tenant=tenant)
    (form,) = queries.forms()
    now = clock.now()
    evaluation_times.expect([form], now=now - 10 * MINUTE)

    assert evaluation_times.report_late(now=now) == 1
    assert evaluation_times.report_late(now=now) == 0
    event = Event.every_tenant.named("monitoring.evaluation_late").get()
    assert (event.tenant_id, event.data["rules"]) == (None, "silence ge all")
    assert "too slow" in caplog.text
    page = Client().get("/metrics").content.decode()
    age = next(line for line in page.splitlines() if line.startswith("rules_evaluation_age"))
    assert float(age.split()[1]) >= 600

    with evaluation_times.evaluation_of(form, now=now):
        pass
    assert FormEvaluation.objects.get().late_reported_at is None
    assert evaluation_times.report_late(now=now) == 0


def test_forms_without_a_rule_are_forgotten(tenant: Tenant, now: datetime) -> None:
    rule = silence_rule(tenant=tenant)
    evaluation_times.expect(queries.forms(), now=now)
    rule.delete()
    evaluation_times.expect(queries.forms(), now=now)

    assert not FormEvaluation.objects.exists()
