"""When an alert is opened, when it gets worse, and when it is over."""

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
from devices.monitoring.tests.factories import RuleFactory, silence
from devices.registry.models import Device, DeviceTag
from devices.registry.services import registration
from devices.registry.tests.factories import DeviceFactory, TagFactory
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture
def device(tenant: Tenant) -> Device:
    made: Device = DeviceFactory.create(tenant=tenant, status="online")
    return made


def passed(tenant: Tenant, now: datetime, **only: Any) -> EvaluationResult:
    """One pass over the tenant's rules, as a worker makes it."""
    with tenant_scope(tenant.pk):
        return evaluation.evaluate_all(now=now, **only)


def reports(device: Device, now: datetime, value: float) -> None:
    report(device, at(now, cpu_usage=value), now=now)


def alert() -> Alert:
    found: Alert = Alert.every_tenant.get()
    return found


def test_a_value_beyond_the_threshold_opens_one_alert(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant, name="CPU", severity="high")
    reports(device, now, 95.5)

    assert passed(tenant, now) == EvaluationResult(opened=1)
    assert passed(tenant, now + MINUTE) == EvaluationResult()

    found = alert()
    assert (found.rule, found.device, found.severity) == (rule, device, "high")
    assert (found.value, found.title) == (95.5, "CPU: 95.5 %")
    event = Event.every_tenant.named("alert.opened").get()
    assert (event.device_id, event.data["severity"]) == (device.pk, "high")


@pytest.mark.parametrize(
    ("operator", "value", "opens"),
    [
        *(("gt", 90, False), ("gt", 91, True), ("ge", 90, True), ("ge", 89, False)),
        *(("lt", 90, False), ("lt", 89, True), ("le", 90, True), ("le", 91, False)),
    ],
)
def test_the_operator_says_on_which_side_the_trouble_is(
    tenant: Tenant,
    device: Device,
    now: datetime,
    operator: str,
    value: float,
    opens: bool,
) -> None:
    RuleFactory.create(tenant=tenant, operator=operator)
    reports(device, now, value)

    assert passed(tenant, now).opened == int(opens)


def test_it_closes_by_itself_when_the_cause_is_gone(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    reports(device, now, 95)
    passed(tenant, now)
    reports(device, now + MINUTE, 90)

    assert passed(tenant, now + MINUTE) == EvaluationResult(closed=1)

    assert (alert().status, alert().closing) == ("closed", "cause_gone")
    assert Event.every_tenant.named("alert.closed").count() == 1


def test_between_threshold_and_clear_value_it_stays_as_it_is(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, clear_threshold=70)
    reports(device, now, 85)
    assert passed(tenant, now).opened == 0
    reports(device, now + MINUTE, 95)
    passed(tenant, now + MINUTE)
    reports(device, now + 2 * MINUTE, 85)
    assert passed(tenant, now + 2 * MINUTE).closed == 0
    reports(device, now + 3 * MINUTE, 70)

    assert passed(tenant, now + 3 * MINUTE).closed == 1


@pytest.mark.parametrize(
    ("values", "opens"),
    [
        ([95, 95, 95], True),  # for ten minutes
        ([10, 95, 95], False),  # for five
        ([95, 10, 95], False),
        ([95, 95, 10], False),
    ],
)
def test_it_lasts_when_every_sample_of_the_time_says_so(
    tenant: Tenant, device: Device, now: datetime, values: list[float], opens: bool
) -> None:
    RuleFactory.create(tenant=tenant, lasting_seconds=600)
    report(device, *every_five_minutes(now - 10 * MINUTE, values), now=now)

    assert passed(tenant, now).opened == int(opens)


def test_a_sample_that_comes_late_speaks_of_its_own_time(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    reports(device, now, 10)
    report(device, at(now - 5 * MINUTE, cpu_usage=99), now=now)

    assert passed(tenant, now).opened == 0


def test_after_it_closed_it_rests_for_the_cool_down(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, cool_down_seconds=600)
    for minute, value in ((0, 95), (1, 10), (2, 95)):
        reports(device, now + minute * MINUTE, value)
        passed(tenant, now + minute * MINUTE)
    assert Alert.every_tenant.count() == 1

    reports(device, now + 12 * MINUTE, 95)

    assert passed(tenant, now + 12 * MINUTE).opened == 1


def test_it_escalates_in_place(tenant: Tenant, device: Device, now: datetime) -> None:
    RuleFactory.create(
        tenant=tenant,
        severity="medium",
        escalation_threshold=98,
        escalation_severity="critical",
    )
    reports(device, now, 95)
    passed(tenant, now)
    reports(device, now + MINUTE, 99)

    assert passed(tenant, now + MINUTE) == EvaluationResult(escalated=1)
    assert passed(tenant, now + 2 * MINUTE) == EvaluationResult()

    assert (alert().severity, alert().value) == ("critical", 99)
    event = Event.every_tenant.named("alert.escalated").get()
    assert event.changes == {"severity": ["medium", "critical"]}


def test_what_begins_beyond_the_second_threshold_begins_severe(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(
        tenant=tenant, escalation_threshold=98, escalation_severity="critical"
    )
    reports(device, now, 99)
    passed(tenant, now)

    assert alert().severity == "critical"


@pytest.mark.parametrize(("hour", "opens"), [(9, True), (20, False)])
def test_alerts_are_opened_within_the_opening_hours(
    tenant: Tenant, device: Device, now: datetime, hour: int, opens: bool
) -> None:
    RuleFactory.create(tenant=tenant, opens_at=time(8), closes_at=time(18))
    moment = now.replace(hour=hour)
    reports(device, moment, 95)

    assert passed(tenant, moment).opened == int(opens)


@pytest.mark.parametrize(
    ("no_data", "outcome"),
    [
        ("keep", EvaluationResult()),
        ("close", EvaluationResult(closed=1)),
    ],
)
def test_no_data_means_what_the_rule_says(
    tenant: Tenant,
    device: Device,
    now: datetime,
    no_data: str,
    outcome: EvaluationResult,
) -> None:
    RuleFactory.create(tenant=tenant, no_data=no_data)
    reports(device, now, 95)
    passed(tenant, now)

    assert passed(tenant, now + 16 * MINUTE) == outcome


def test_no_data_may_itself_be_a_reason(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, no_data="open", name="CPU")
    reports(device, now, 10)
    assert passed(tenant, now).opened == 0

    assert passed(tenant, now + 16 * MINUTE).opened == 1
    assert alert().title == "CPU: no data"
    reports(device, now + 17 * MINUTE, 10)
    assert passed(tenant, now + 17 * MINUTE).closed == 1


def test_silence_opens_an_alert_and_a_sign_of_life_closes_it(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    silence(tenant=tenant, name="Away")
    reports(device, now, 10)
    assert passed(tenant, now + 4 * MINUTE) == EvaluationResult()

    assert passed(tenant, now + 5 * MINUTE) == EvaluationResult(opened=1)
    assert (alert().title, alert().since) == ("Away: silent for 5 min", now)
    reports(device, now + 6 * MINUTE, 10)
    assert passed(tenant, now + 6 * MINUTE) == EvaluationResult(closed=1)


def test_a_device_that_was_never_heard_of_is_not_silent(
    tenant: Tenant, now: datetime
) -> None:
    silence(tenant=tenant)
    DeviceFactory.create(tenant=tenant)

    assert passed(tenant, now) == EvaluationResult()


def test_a_certificate_near_its_end_opens_an_alert_until_there_is_another(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(
        tenant=tenant,
        name="Ending",
        kind="certificate",
        measure="",
        operator="le",
        threshold=30,
    )
    service = CertificateManagementService()

    def issue(moment: datetime) -> None:
        service.issue_certificate(
            device=device, csr_pem=request_for(ec_key()), now=moment
        )

    issue(now - timedelta(days=340))
    assert passed(tenant, now) == EvaluationResult(opened=1)
    assert alert().title == "Ending: ends in 25 days"
    issue(now)
    assert passed(tenant, now + MINUTE) == EvaluationResult(closed=1)


def test_a_rule_is_about_the_devices_of_its_scope(
    tenant: Tenant, now: datetime
) -> None:
    plain, tagged, chosen = DeviceFactory.create_batch(3, tenant=tenant)
    tag = TagFactory.create(tenant=tenant, name="hall")
    DeviceTag.every_tenant.create(tenant=tenant, device=tagged, tag=tag)
    of_tag = RuleFactory.create(tenant=tenant, scope="tag", tag=tag)
    of_one = RuleFactory.create(tenant=tenant, scope="device", device=chosen)
    for device in (plain, tagged, chosen):
        reports(device, now, 95)

    passed(tenant, now)

    found = set(Alert.every_tenant.values_list("rule_id", "device_id"))
    assert found == {(of_tag.pk, tagged.pk), (of_one.pk, chosen.pk)}


def test_a_rule_sees_its_own_tenants_devices_alone(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    stranger = DeviceFactory.create()
    reports(stranger, now, 99)

    assert passed(tenant, now) == EvaluationResult()
    assert passed(stranger.tenant, now) == EvaluationResult()


@pytest.fixture
def hall(tenant: Tenant, device: Device) -> Any:
    tag = TagFactory.create(tenant=tenant, name="hall")
    DeviceTag.every_tenant.create(tenant=tenant, device=device, tag=tag)
    return tag


def overridden(rule: MonitoringRule, now: datetime, **said: Any) -> None:
    with tenant_scope(rule.tenant_id):
        subject = {"tag": said.pop("tag", None), "device": said.pop("device", None)}
        rules.override(rule=rule, subject=subject, now=now, **said)


def test_a_tag_overrides_the_rule_and_a_device_overrides_the_tag(
    tenant: Tenant, device: Device, hall: Any, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    other = DeviceFactory.create(tenant=tenant)
    overridden(rule, now, tag=hall, threshold=50, severity="low")
    reports(device, now, 60)
    reports(other, now, 60)

    assert passed(tenant, now) == EvaluationResult(opened=1)
    assert (alert().device, alert().severity) == (device, "low")

    overridden(rule, now, device=device, threshold=70)
    assert passed(tenant, now) == EvaluationResult(closed=1)


def test_an_override_may_ask_for_longer(
    tenant: Tenant, device: Device, hall: Any, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    overridden(rule, now, tag=hall, lasting_seconds=600)
    reports(device, now, 95)
    assert passed(tenant, now).opened == 0
    for minute in (5, 10):
        reports(device, now + minute * MINUTE, 95)

    assert passed(tenant, now + 10 * MINUTE).opened == 1


def test_an_override_may_switch_a_rule_off(
    tenant: Tenant, device: Device, hall: Any, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    reports(device, now, 95)
    passed(tenant, now)

    overridden(rule, now, device=device, is_enabled=False)

    assert passed(tenant, now) == EvaluationResult(closed=1)
    assert alert().closing == "not_watched"
    assert passed(tenant, now) == EvaluationResult()


def test_an_override_may_switch_on_what_the_rule_has_off(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant, is_enabled=False)
    other = DeviceFactory.create(tenant=tenant)
    overridden(rule, now, device=device, is_enabled=True)
    reports(device, now, 95)
    reports(other, now, 95)

    assert passed(tenant, now) == EvaluationResult(opened=1)
    assert alert().device == device


def test_overrides_that_contradict_each_other_make_no_storm(
    tenant: Tenant, device: Device, hall: Any, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    overridden(rule, now, tag=hall, threshold=70, clear_threshold=60)
    overridden(rule, now, device=device, clear_threshold=85)
    reports(device, now, 75)

    assert passed(tenant, now) == EvaluationResult(opened=1)
    assert passed(tenant, now) == EvaluationResult()


def test_what_is_more_severe_already_is_not_escalated_down(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(
        tenant=tenant, escalation_threshold=98, escalation_severity="high"
    )
    overridden(rule, now, device=device, severity="critical")
    reports(device, now, 99)

    assert passed(tenant, now) == EvaluationResult(opened=1)
    assert passed(tenant, now) == EvaluationResult()
    assert alert().severity == "critical"


def test_an_alert_about_a_certificate_that_was_revoked_is_closed(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(
        tenant=tenant, kind="certificate", measure="", operator="le", threshold=30
    )
    service = CertificateManagementService()
    certificate = service.issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=now - timedelta(days=340)
    )
    passed(tenant, now)
    service.revoke_certificate(certificate, reason="superseded", now=now)

    assert passed(tenant, now) == EvaluationResult(closed=1)


def test_what_a_rule_opened_while_it_was_switched_off_is_closed_by_the_next_pass(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    reports(device, now, 95)
    passed(tenant, now)
    MonitoringRule.every_tenant.filter(pk=rule.pk).update(is_enabled=False)

    assert passed(tenant, now) == EvaluationResult(closed=1)


def test_one_rules_trouble_is_not_that_of_the_others(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    silence(tenant=tenant, name="A", threshold=1e300)  # no such rule gets past the door
    RuleFactory.create(tenant=tenant, name="B")
    reports(device, now, 95)

    assert passed(tenant, now) == EvaluationResult(opened=1)


def test_a_rule_that_is_switched_off_closes_its_alerts(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    reports(device, now, 95)
    passed(tenant, now)

    with tenant_scope(tenant.pk):
        rules.update(rule=rule, now=now, is_enabled=False)

    assert alert().closing == "not_watched"
    assert passed(tenant, now) == EvaluationResult()


def test_a_retired_devices_alerts_are_closed(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    reports(device, now, 95)
    passed(tenant, now)
    with tenant_scope(tenant.pk):
        registration.retire(device=device, now=now)

    assert passed(tenant, now) == EvaluationResult(closed=1)


def test_what_a_member_closed_stays_closed_until_its_cause_has_gone_and_come(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    reports(device, now, 95)
    passed(tenant, now)
    with tenant_scope(tenant.pk):
        alerts.close(alert_id=alert().pk, now=now)
    assert passed(tenant, now) == EvaluationResult()
    reports(device, now + MINUTE, 10)
    assert passed(tenant, now + MINUTE) == EvaluationResult()  # nothing to announce
    reports(device, now + 2 * MINUTE, 95)

    assert passed(tenant, now + 2 * MINUTE) == EvaluationResult(opened=1)


def test_a_pass_takes_the_same_queries_for_one_device_and_for_many(
    tenant: Tenant, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, lasting_seconds=300)
    silence(tenant=tenant)

    def queries(count: int) -> int:
        for device in DeviceFactory.create_batch(count, tenant=tenant, status="online"):
            report(device, *every_five_minutes(now - 5 * MINUTE, [95, 95]), now=now)
        with CaptureQueriesContext(connection) as captured:
            assert passed(tenant, now).opened == count
        return len(captured)

    assert queries(1) == queries(40)


def test_samples_of_some_devices_are_judged_alone(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant)
    silence(tenant=tenant)
    other = DeviceFactory.create(tenant=tenant)
    reports(device, now, 95)
    reports(other, now, 95)

    assert passed(tenant, now, device_ids=[device.pk]) == EvaluationResult(opened=1)
    assert alert().device == device
