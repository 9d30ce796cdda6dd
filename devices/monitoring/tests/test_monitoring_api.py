"""Rules, alerts and figures as members meet them over HTTP."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.services.tenants import create_tenant
from devices.metrics.tests.reporting import at, report
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.tasks import evaluate_tenant
from devices.monitoring.tests.factories import AlertFactory, RuleFactory
from devices.registry.models import Device, DeviceTag
from devices.registry.tests.factories import DeviceFactory, TagFactory
from events.models import Event
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory, UserFactory

pytestmark = pytest.mark.django_db
NOBODY = "0190a5f4-4c2e-7b52-8c6a-3f6f0d3a9b11"
CPU = {"name": "CPU", "kind": "metric", "measure": "cpu_usage", "threshold": 90}


@pytest.fixture
def operator(member: Callable[..., APIClient]) -> APIClient:
    return member(Role.OPERATOR)


def error(answer: Any) -> tuple[int, str, str | None]:
    said = answer.json()["errors"][0]
    return answer.status_code, said["code"], said["attr"]


def test_a_rule_is_made_looked_at_changed_and_removed(operator: APIClient) -> None:
    made = operator.post("/monitoring/rules", CPU)
    assert made.status_code == 201, made.content
    where = f"/monitoring/rules/{made.json()['id']}"
    assert (made.json()["operator"], made.json()["is_enabled"]) == ("gt", True)

    changed = operator.patch(where, {"threshold": 80, "is_enabled": False})

    assert changed.json()["threshold"] == 80
    assert operator.get(where).json()["is_enabled"] is False
    [listed] = operator.get("/monitoring/rules").json()["results"]
    assert listed["id"] == made.json()["id"]
    assert operator.delete(where).status_code == 204
    assert operator.get(where).status_code == 404
    names = Event.every_tenant.order_by("id").values_list("name", flat=True)
    assert [name for name in names if name.startswith("rule.")] == [
        "rule.created",
        "rule.updated",
        "rule.deleted",
    ]


@pytest.mark.parametrize(
    ("said", "attr"),
    [
        ({"measure": None}, "measure"),
        ({"measure": "love"}, "measure"),
        ({"threshold": "high"}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"threshold": 1e300}, "threshold"),
        ({"operator": "=="}, "operator"),
        ({"clear_threshold": 95}, "clear_threshold"),
        ({"escalation_threshold": 95}, "escalation_threshold"),
        (
            {"escalation_threshold": 80, "escalation_severity": "critical"},
            "escalation_threshold",
        ),
        (
            {"escalation_threshold": 95, "escalation_severity": "low"},
            "escalation_severity",
        ),
        ({"scope": "tag"}, "tag"),
        ({"scope": "tag", "tag": "nowhere"}, "tag"),
        ({"scope": "device", "device": NOBODY}, "device"),
        ({"weekdays": []}, "weekdays"),
        ({"weekdays": [8]}, "weekdays.0"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"opens_at": "late"}, "opens_at"),
        ({"opens_at": "08:00:00-14:00"}, "opens_at"),  # the offset would be lost
        ({"lasting_seconds": -1}, "lasting_seconds"),
        ({"kind": "silence", "threshold": 0}, "threshold"),
        ({"kind": "certificate", "threshold": 1_000_000}, "threshold"),
        (
            {
                "kind": "silence",
                "escalation_threshold": 1e10,
                "escalation_severity": "critical",
            },
            "escalation_threshold",
        ),
        ({"tenant": "x"}, "tenant"),
    ],
    ids=str,
)
def test_a_rule_that_cannot_be_is_refused(
    operator: APIClient, said: dict[str, Any], attr: str
) -> None:
    answer = operator.post("/monitoring/rules", {**CPU, **said})

    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, attr)
    assert not MonitoringRule.every_tenant.exists()


def test_two_rules_have_two_names(operator: APIClient) -> None:
    operator.post("/monitoring/rules", CPU)

    assert error(operator.post("/monitoring/rules", CPU)) == (
        409,
        "rule_exists",
        "name",
    )


def test_another_tenants_tag_and_device_are_not_there(operator: APIClient) -> None:
    tag, device = TagFactory.create(), DeviceFactory.create()

    for said in (
        {"scope": "tag", "tag": tag.name},
        {"scope": "device", "device": str(device.pk)},
    ):
        assert operator.post("/monitoring/rules", {**CPU, **said}).status_code == 400


def test_a_new_tenant_begins_with_the_templates_switched_on() -> None:
    tenant = create_tenant(slug="new", now=timezone.now()).tenant

    rules = MonitoringRule.every_tenant.filter(tenant=tenant)

    assert {rule.name: rule.is_enabled for rule in rules} == {
        "Device disconnected": True,
        "CPU > 90 %": True,
        "RAM > 85 %": True,
        "Network down": True,
        "Configuration not applied": True,
    }


def test_what_holds_for_a_device_names_its_source(
    operator: APIClient, tenant: Tenant, device: Device
) -> None:
    tag = TagFactory.create(tenant=tenant, name="hall")
    DeviceTag.every_tenant.create(tenant=tenant, device=device, tag=tag)
    rule = RuleFactory.create(tenant=tenant, lasting_seconds=60)
    overrides = f"/monitoring/rules/{rule.pk}/overrides"
    of_tag = operator.post(
        overrides, {"tag": "hall", "threshold": 70, "severity": "low"}
    )
    assert of_tag.status_code == 201, of_tag.content
    operator.post(overrides, {"device": str(device.pk), "threshold": 60})

    def held() -> Any:
        [found] = operator.get(f"/devices/{device.pk}/monitoring").json()["rules"]
        return found

    assert (held()["threshold"], held()["severity"]) == (60, "low")
    sources = held()["sources"]
    assert (sources["threshold"], sources["severity"]) == ("device", "tag hall")
    assert sources["lasting_seconds"] == "rule"
    assert operator.delete(f"{overrides}/{of_tag.json()['id']}").status_code == 204
    assert held()["severity"] == "medium"


def test_an_override_that_is_as_the_rule_follows_it(
    operator: APIClient, device: Device, tenant: Tenant
) -> None:
    rule = RuleFactory.create(tenant=tenant, threshold=90)
    said = {"device": str(device.pk), "threshold": 90, "lasting_seconds": 5}

    made = operator.post(f"/monitoring/rules/{rule.pk}/overrides", said)

    assert (made.json()["threshold"], made.json()["lasting_seconds"]) == (None, 5)


@pytest.mark.parametrize(
    "said",
    [{}, {"threshold": 5}, {"tag": "hall"}, {"tag": "hall", "device": NOBODY}],
    ids=str,
)
def test_an_override_without_subject_or_difference_is_refused(
    operator: APIClient, tenant: Tenant, said: dict[str, Any]
) -> None:
    TagFactory.create(tenant=tenant, name="hall")
    rule = RuleFactory.create(tenant=tenant)

    answer = operator.post(f"/monitoring/rules/{rule.pk}/overrides", said)

    assert answer.status_code == 400


def test_an_alert_is_acknowledged_assigned_commented_and_closed(
    operator: APIClient, tenant: Tenant, device: Device
) -> None:
    alert = AlertFactory.create(tenant=tenant, device=device)
    where = f"/monitoring/alerts/{alert.pk}"
    helper = MembershipFactory.create(
        tenant=tenant, user=UserFactory.create(email="helper@example.com")
    )

    acknowledged = operator.post(f"{where}/acknowledge").json()
    assert acknowledged["status"] == "acknowledged"
    assert acknowledged["acknowledged_by"].endswith("@example.com")
    assigned = operator.post(f"{where}/assign", {"assignee": helper.user.email})
    assert assigned.json()["assignee"] == "helper@example.com"
    operator.post(f"{where}/comments", {"text": "On my way.\nSoon."})
    assert operator.get(where).json()["comments"][0]["text"] == "On my way.\nSoon."
    assert operator.post(f"{where}/close").json()["closing"] == "by_hand"
    assert error(operator.post(f"{where}/close")) == (409, "alert_closed", None)
    names = Event.every_tenant.order_by("id").values_list("name", flat=True)
    assert [name for name in names if name.startswith("alert.")] == [
        "alert.acknowledged",
        "alert.assigned",
        "alert.commented",
        "alert.closed",
    ]


def test_an_alert_is_assigned_to_members_only(
    operator: APIClient, tenant: Tenant
) -> None:
    alert = AlertFactory.create(tenant=tenant)
    stranger = MembershipFactory.create()

    answer = operator.post(
        f"/monitoring/alerts/{alert.pk}/assign", {"assignee": stranger.user.email}
    )

    assert error(answer) == (400, "not_a_member", "assignee")


def test_alerts_are_listed_by_status_severity_device_and_rule(
    operator: APIClient, tenant: Tenant, device: Device, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    AlertFactory.create(tenant=tenant, title="one", device=device, severity="low")
    AlertFactory.create(tenant=tenant, title="two", rule=rule, acknowledged_at=now)
    AlertFactory.create(tenant=tenant, title="three", closed_at=now, settled_at=now)
    AlertFactory.create(title="a stranger's")

    def listed(query: str) -> set[str]:
        answer = operator.get(f"/monitoring/alerts?{query}").json()
        return {alert["title"] for alert in answer["results"]}

    assert listed("") == {"one", "two", "three"}
    assert listed("status=open") == {"one"}
    assert listed("status=acknowledged") == {"two"}
    assert listed("status=closed") == {"three"}
    assert listed("severity=low") == {"one"}
    assert listed(f"device={device.pk}") == {"one"}
    assert listed(f"rule={rule.pk}") == {"two"}
    assert operator.get("/monitoring/alerts?odd=1").status_code == 400


def test_the_overview_counts_devices_and_alerts(
    operator: APIClient, tenant: Tenant
) -> None:
    now = timezone.now()
    DeviceFactory.create(tenant=tenant, status="online")
    device = DeviceFactory.create(tenant=tenant)
    DeviceFactory.create(tenant=tenant, status="retired", retired_at=now)
    rule = RuleFactory.create(tenant=tenant, name="CPU > 90 %")
    AlertFactory.create(
        tenant=tenant, rule=rule, device=device, title="CPU", opened_at=now
    )
    AlertFactory.create(tenant=tenant, opened_at=now - timedelta(hours=25))
    AlertFactory.create(opened_at=now)  # a stranger's

    told = operator.get("/devices/stats/overview").json()

    assert (told["total"], told["active"], told["offline"]) == (2, 1, 1)
    assert told["alerts_last_24h"] == 1
    assert told["alerts_last_24h_by_rule"] == {"CPU > 90 %": 1}
    assert told["open_alerts"]["high"] == 2
    newest = told["recent_alerts"][0]
    assert (newest["title"], newest["severity"]) == ("CPU", "high")
    assert newest["device_id"] == str(device.pk)


def test_a_high_processor_load_is_an_alert_of_the_last_day(
    member: Callable[..., APIClient],
) -> None:
    made = create_tenant(slug="new", now=timezone.now()).tenant
    device = DeviceFactory.create(tenant=made)
    report(device, at(timezone.now(), cpu_usage=99), now=timezone.now())
    evaluate_tenant(str(made.pk))

    told = member(of=made).get("/devices/stats/overview").json()
    assert told["alerts_last_24h_by_rule"] == {"CPU > 90 %": 1}


def test_an_incidents_devices_are_told(operator: APIClient, tenant: Tenant) -> None:
    alert = AlertFactory.create(tenant=tenant, kind=Alert.Kind.FLEET_SILENCE)
    device = DeviceFactory.create(tenant=tenant)
    alert.members.create(tenant=tenant, device=device, silent_since=alert.opened_at)

    told = operator.get(f"/monitoring/alerts/{alert.pk}").json()

    assert told["members"] == [str(device.pk)]
