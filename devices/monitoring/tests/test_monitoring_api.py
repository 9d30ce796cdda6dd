"""The API of rules, alerts and the overview."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.services.tenants import create_tenant
from devices.metrics.tests.reporting import at, report
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.services import evaluation
from devices.monitoring.tests.factories import AlertFactory, RuleFactory
from devices.registry.models import Device, DeviceTag
from devices.registry.tests.factories import DeviceFactory, TagFactory
from events.models import Event
from events.services import delivery
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory, UserFactory

pytestmark = pytest.mark.django_db
UNKNOWN_ID = "0190a5f4-4c2e-7b52-8c6a-3f6f0d3a9b11"
CPU = {"name": "CPU", "kind": "metric", "measure": "cpu_usage", "threshold": 90}


@pytest.fixture
def operator(member: Callable[..., APIClient]) -> APIClient:
    return member(Role.OPERATOR)


def first_error(response: Any) -> tuple[int, str, str | None]:
    error = response.json()["errors"][0]
    return response.status_code, error["code"], error["attr"]


def test_a_rule_can_be_created_read_changed_and_deleted(operator: APIClient) -> None:
    created = operator.post("/monitoring/rules", CPU)
    assert created.status_code == 201, created.content
    rule = created.json()
    path = f"/monitoring/rules/{rule['id']}"
    assert (rule["operator"], rule["is_enabled"]) == ("gt", True)

    changed = operator.patch(path, {"threshold": 80, "is_enabled": False})

    assert changed.json()["threshold"] == 80
    assert operator.get(path).json()["is_enabled"] is False
    [listed] = operator.get("/monitoring/rules").json()["results"]
    assert listed["id"] == rule["id"]
    assert operator.delete(path).status_code == 204
    assert operator.get(path).status_code == 404
    names = Event.every_tenant.order_by("id").values_list("name", flat=True)
    assert [name for name in names if name.startswith("rule.")] == [
        "rule.created",
        "rule.updated",
        "rule.deleted",
    ]


def test_a_rule_with_a_tag_and_no_scope_is_not_silently_about_all_devices(
    operator: APIClient, tenant: Tenant
) -> None:
    TagFactory.create(tenant=tenant, name="hall")

    response = operator.post("/monitoring/rules", {**CPU, "tag": "hall"})

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == "tag"
    assert not MonitoringRule.every_tenant.exists()


def test_the_alerts_of_a_deleted_rule_stay_readable_with_their_comments(
    operator: APIClient, device: Device, tenant: Tenant
) -> None:
    rule = RuleFactory.create(tenant=tenant, **CPU)
    alert = AlertFactory.create(tenant=tenant, rule=rule, device=device)
    path = f"/monitoring/alerts/{alert.pk}"
    operator.post(f"{path}/comments", {"text": "Fan broken"})

    assert operator.delete(f"/monitoring/rules/{rule.pk}").status_code == 204

    kept = operator.get(path).json()
    assert (kept["status"], kept["closing"]) == ("closed", "not_watched")
    assert [comment["text"] for comment in kept["comments"]] == ["Fan broken"]
    [listed] = operator.get(f"/monitoring/alerts?rule={rule.pk}").json()["results"]
    assert listed["id"] == str(alert.pk)
    assert operator.delete(f"/monitoring/rules/{rule.pk}").status_code == 404


def test_the_name_of_a_deleted_rule_can_be_used_again(operator: APIClient, tenant: Tenant) -> None:
    rule = RuleFactory.create(tenant=tenant, **CPU)
    operator.delete(f"/monitoring/rules/{rule.pk}")

    assert operator.post("/monitoring/rules", CPU).status_code == 201

    assert len(operator.get("/monitoring/rules").json()["results"]) == 1


@pytest.mark.parametrize(
    ("fields", "attr"),
    [
        ({"measure": None}, "measure"),
        ({"measure": "love"}, "measure"),
        ({"threshold": "high"}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"threshold": 1e300}, "threshold"),
        ({"operator": "=="}, "operator"),
        ({"clear_threshold": 95}, "clear_threshold"),
        ({"escalation_threshold": 95}, "escalation_threshold"),
        ({"escalation_threshold": 80, "escalation_severity": "critical"}, "escalation_threshold"),
        ({"escalation_threshold": 95, "escalation_severity": "low"}, "escalation_severity"),
        ({"scope": "tag"}, "tag"),
        ({"scope": "tag", "tag": "nowhere"}, "tag"),
        ({"scope": "tag", "tag": ""}, "tag"),
        ({"scope": "tag", "tag": " "}, "tag"),
        ({"scope": "device", "device": UNKNOWN_ID}, "device"),
        ({"weekdays": []}, "weekdays"),
        ({"weekdays": [8]}, "weekdays.0"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"opens_at": "late"}, "opens_at"),
        ({"opens_at": "08:00:00-14:00"}, "opens_at"),  # offsets are not supported
        ({"lasting_seconds": -1}, "lasting_seconds"),
        ({"kind": "silence", "threshold": 0}, "threshold"),
        ({"kind": "certificate", "threshold": 1_000_000}, "threshold"),
        (
            {"kind": "silence", "escalation_threshold": 1e10, "escalation_severity": "critical"},
            "escalation_threshold",
        ),
        ({"tenant": "x"}, "tenant"),
    ],
    ids=str,
)
def test_an_invalid_rule_is_refused_with_the_name_of_its_field(
    operator: APIClient, fields: dict[str, Any], attr: str
) -> None:
    response = operator.post("/monitoring/rules", {**CPU, **fields})

    assert (response.status_code, response.json()["errors"][0]["attr"]) == (400, attr)
    assert not MonitoringRule.every_tenant.exists()


def test_a_second_rule_with_the_same_name_is_refused(operator: APIClient) -> None:
    operator.post("/monitoring/rules", CPU)

    assert first_error(operator.post("/monitoring/rules", CPU)) == (409, "rule_exists", "name")


def test_a_rule_on_another_tenants_tag_or_device_is_refused(operator: APIClient) -> None:
    tag, device = TagFactory.create(), DeviceFactory.create()

    for scope in ({"scope": "tag", "tag": tag.name}, {"scope": "device", "device": str(device.pk)}):
        assert operator.post("/monitoring/rules", {**CPU, **scope}).status_code == 400


def test_a_new_tenant_gets_the_template_rules_enabled() -> None:
    tenant = create_tenant(slug="new", now=timezone.now()).tenant
    delivery.deliver(now=timezone.now())  # runs the subscriber that creates the rules

    rules = MonitoringRule.every_tenant.filter(tenant=tenant)

    assert {rule.name: rule.is_enabled for rule in rules} == {
        "Device disconnected": True,
        "CPU > 90 %": True,
        "RAM > 85 %": True,
        "Network down": True,
        "Configuration not applied": True,
    }


def test_effective_rules_of_a_device_include_the_source_of_each_value(
    operator: APIClient, tenant: Tenant, device: Device
) -> None:
    tag = TagFactory.create(tenant=tenant, name="hall")
    DeviceTag.every_tenant.create(tenant=tenant, device=device, tag=tag)
    rule = RuleFactory.create(tenant=tenant, lasting_seconds=60)
    overrides = f"/monitoring/rules/{rule.pk}/overrides"
    tag_override = operator.post(overrides, {"tag": "hall", "threshold": 70, "severity": "low"})
    assert tag_override.status_code == 201, tag_override.content
    operator.post(overrides, {"device": str(device.pk), "threshold": 60})

    def effective_rule() -> Any:
        [item] = operator.get(f"/devices/{device.pk}/monitoring").json()["rules"]
        return item

    assert effective_rule()["threshold"] == 60
    assert effective_rule()["severity"] == "low"
    sources = effective_rule()["sources"]
    assert (sources["threshold"], sources["severity"]) == ("device", "tag hall")
    assert sources["lasting_seconds"] == "rule"
    path = f"{overrides}/{tag_override.json()['id']}"
    assert operator.delete(path).status_code == 204
    assert effective_rule()["severity"] == "medium"


def test_override_values_equal_to_the_rule_are_not_stored(
    operator: APIClient, device: Device, tenant: Tenant
) -> None:
    rule = RuleFactory.create(tenant=tenant, threshold=90)
    fields = {"device": str(device.pk), "threshold": 90, "lasting_seconds": 5}

    override = operator.post(f"/monitoring/rules/{rule.pk}/overrides", fields).json()

    assert (override["threshold"], override["lasting_seconds"]) == (None, 5)


@pytest.mark.parametrize(
    "fields",
    [{}, {"threshold": 5}, {"tag": "hall"}, {"tag": "hall", "device": UNKNOWN_ID}],
    ids=str,
)
def test_an_override_without_subject_or_difference_is_refused(
    operator: APIClient, tenant: Tenant, fields: dict[str, Any]
) -> None:
    TagFactory.create(tenant=tenant, name="hall")
    rule = RuleFactory.create(tenant=tenant)

    response = operator.post(f"/monitoring/rules/{rule.pk}/overrides", fields)

    assert response.status_code == 400


def test_an_alert_can_be_acknowledged_assigned_commented_and_closed(
    operator: APIClient, tenant: Tenant, device: Device
) -> None:
    alert = AlertFactory.create(tenant=tenant, device=device)
    path = f"/monitoring/alerts/{alert.pk}"
    colleague = MembershipFactory.create(
        tenant=tenant, user=UserFactory.create(email="colleague@example.com")
    )

    acknowledged = operator.post(f"{path}/acknowledge").json()
    assert acknowledged["status"] == "acknowledged"
    assert acknowledged["acknowledged_by"].endswith("@example.com")
    assigned = operator.post(f"{path}/assign", {"assignee": colleague.user.email})
    assert assigned.json()["assignee"] == "colleague@example.com"
    operator.post(f"{path}/comments", {"text": "On my way.\nSoon."})
    assert operator.get(path).json()["comments"][0]["text"] == "On my way.\nSoon."
    assert operator.post(f"{path}/close").json()["closing"] == "by_hand"
    assert first_error(operator.post(f"{path}/close")) == (409, "alert_closed", None)
    names = Event.every_tenant.order_by("id").values_list("name", flat=True)
    assert [name for name in names if name.startswith("alert.")] == [
        "alert.acknowledged",
        "alert.assigned",
        "alert.commented",
        "alert.closed",
    ]


def test_an_alert_cannot_be_assigned_to_another_tenants_member(
    operator: APIClient, tenant: Tenant
) -> None:
    alert = AlertFactory.create(tenant=tenant)
    foreign_member = MembershipFactory.create()

    response = operator.post(
        f"/monitoring/alerts/{alert.pk}/assign", {"assignee": foreign_member.user.email}
    )

    assert first_error(response) == (400, "not_a_member", "assignee")


def test_alerts_can_be_filtered_by_status_severity_device_and_rule(
    operator: APIClient, tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    AlertFactory.create(tenant=tenant, title="one", device=device, severity="low")
    AlertFactory.create(tenant=tenant, title="two", rule=rule, acknowledged_at=now)
    AlertFactory.create(tenant=tenant, title="three", closed_at=now, settled_at=now)
    AlertFactory.create(title="another tenant's")

    def titles(query: str) -> set[str]:
        data = operator.get(f"/monitoring/alerts?{query}").json()
        return {alert["title"] for alert in data["results"]}

    assert titles("") == {"one", "two", "three"}
    assert titles("status=open") == {"one"}
    assert titles("status=acknowledged") == {"two"}
    assert titles("status=closed") == {"three"}
    assert titles("severity=low") == {"one"}
    assert titles(f"device={device.pk}") == {"one"}
    assert titles(f"rule={rule.pk}") == {"two"}
    assert operator.get("/monitoring/alerts?odd=1").status_code == 400


def test_the_overview_counts_devices_and_alerts(operator: APIClient, tenant: Tenant) -> None:
    now = timezone.now()
    DeviceFactory.create(tenant=tenant, status="online")
    device = DeviceFactory.create(tenant=tenant)
    DeviceFactory.create(tenant=tenant, status="retired", retired_at=now)
    rule = RuleFactory.create(tenant=tenant, name="CPU > 90 %")
    AlertFactory.create(tenant=tenant, rule=rule, device=device, title="CPU", opened_at=now)
    AlertFactory.create(tenant=tenant, opened_at=now - timedelta(hours=25))
    AlertFactory.create(opened_at=now)  # of another tenant

    data = operator.get("/devices/stats/overview").json()

    assert (data["total"], data["active"], data["offline"]) == (2, 1, 1)
    assert data["alerts_last_24h"] == 1
    assert data["alerts_last_24h_by_rule"] == {"CPU > 90 %": 1}
    assert data["open_alerts"]["high"] == 2
    newest = data["recent_alerts"][0]
    assert (newest["title"], newest["severity"]) == ("CPU", "high")
    assert newest["device_id"] == str(device.pk)


def test_a_new_tenants_template_rule_opens_an_alert_for_high_cpu_usage(
    member: Callable[..., APIClient],
) -> None:
    tenant = create_tenant(slug="new", now=timezone.now()).tenant
    delivery.deliver(now=timezone.now())  # runs the subscriber that creates the rules
    device = DeviceFactory.create(tenant=tenant)
    report(device, at(timezone.now(), cpu_usage=99), now=timezone.now())
    evaluation.evaluate_all(now=timezone.now())

    data = member(of=tenant).get("/devices/stats/overview").json()
    assert data["alerts_last_24h_by_rule"] == {"CPU > 90 %": 1}


def test_an_incident_lists_its_devices(operator: APIClient, tenant: Tenant) -> None:
    alert = AlertFactory.create(tenant=tenant, kind=Alert.Kind.FLEET_SILENCE)
    device = DeviceFactory.create(tenant=tenant)
    alert.members.create(tenant=tenant, device=device, silent_since=alert.opened_at)

    data = operator.get(f"/monitoring/alerts/{alert.pk}").json()

    assert data["members"] == [str(device.pk)]
