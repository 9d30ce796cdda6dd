"""Rules, alerts and charts as people meet them in the portal."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.utils import timezone

from devices.metrics.tests.reporting import every_five_minutes, report
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.monitoring.tests.factories import AlertFactory, RuleFactory
from devices.registry.models import Device
from devices.registry.tests.factories import TagFactory
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
RULES = "/admin/monitoring/monitoringrule/"
ALERTS = "/admin/monitoring/alert/"
Portal = Callable[..., Client]
RULE = {
    "name": "Hot",
    "kind": "metric",
    "measure": "temperature",
    "operator": "gt",
    "threshold": "80",
    "lasting_minutes": "10",
    "severity": "high",
    "scope": "all",
    "weekdays": ["1", "2"],
    "opens_at": "08:00",
    "closes_at": "18:00",
    "time_zone": "Europe/Berlin",
    "is_enabled": "on",
}


@pytest.fixture
def portal(tenant: Tenant) -> Portal:
    def entering(role: Role = Role.OPERATOR) -> Client:
        client = Client()
        client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
        return client

    return entering


def test_a_rule_is_entered_and_changed(portal: Portal) -> None:
    client = portal()
    assert client.post(f"{RULES}add/", RULE).status_code == 302
    rule = MonitoringRule.every_tenant.get()
    assert (rule.lasting_seconds, rule.weekdays) == (600, [1, 2])
    assert rule.time_zone == "Europe/Berlin"

    changed = {**RULE, "threshold": "70", "is_enabled": ""}
    client.post(f"{RULES}{rule.pk}/change/", changed)

    rule.refresh_from_db()
    assert (rule.threshold, rule.is_enabled) == (70, False)


def test_a_rule_goes_with_its_alerts(portal: Portal, tenant: Tenant) -> None:
    rule = RuleFactory.create(tenant=tenant)
    AlertFactory.create(tenant=tenant, rule=rule)

    portal().post(f"{RULES}{rule.pk}/delete/", {"post": "yes"})

    assert not MonitoringRule.every_tenant.exists()
    assert not Alert.every_tenant.exists()


def test_what_a_rule_cannot_be_stands_beside_its_field(portal: Portal) -> None:
    answer = portal().post(f"{RULES}add/", {**RULE, "scope": "tag", "tag_name": "none"})

    assert answer.status_code == 200
    assert "There is no such tag." in answer.content.decode()
    assert 'value="Hot"' in answer.content.decode(), "and what was typed is there"


def test_a_rules_page_leads_to_its_back_test(
    portal: Portal, tenant: Tenant, device: Device
) -> None:
    rule = RuleFactory.create(tenant=tenant, is_enabled=False)
    now = timezone.now()
    report(device, *every_five_minutes(now - timedelta(hours=1), [95, 10, 95]), now=now)

    page = portal(Role.VIEWER).get(f"{RULES}{rule.pk}/back-test/").content.decode()

    assert "it would have fired 2 times on 1 device." in page
    assert device.name in page


def test_an_override_is_entered_and_taken_back(
    portal: Portal, tenant: Tenant, device: Device
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    TagFactory.create(tenant=tenant, name="hall")
    client, where = portal(), "/admin/monitoring/ruleoverride/"
    said = {"rule": str(rule.pk), "tag_name": "hall", "threshold": "50"}

    both = client.post(f"{where}add/", {**said, "device_id": str(device.pk)})
    assert "For a tag, or for a device?" in both.content.decode()
    assert client.post(f"{where}add/", said).status_code == 302
    override = RuleOverride.every_tenant.get()
    assert override.threshold == 50
    assert "hall" in client.get(f"{RULES}{rule.pk}/change/").content.decode()

    client.post(f"{where}{override.pk}/delete/", {"post": "yes"})
    assert not RuleOverride.every_tenant.exists()


def test_an_alerts_page_lets_a_member_see_to_it(
    portal: Portal, tenant: Tenant, device: Device
) -> None:
    alert = AlertFactory.create(tenant=tenant, device=device)
    client, where = portal(), f"{ALERTS}{alert.pk}/"
    me = MembershipFactory.create(tenant=tenant).user.email

    client.post(f"{where}acknowledge/")
    client.post(f"{where}assign/", {"assignee": me})
    client.post(f"{where}comment/", {"text": "On <my> way"})
    page = client.get(f"{where}change/").content.decode()
    assert "On &lt;my&gt; way" in page
    client.post(f"{where}close/")

    alert.refresh_from_db()
    assert (alert.status, alert.assignee.email) == ("closed", me)
    assert alert.acknowledged_by is not None


@pytest.mark.parametrize("verb", ["acknowledge", "assign", "comment", "close"])
def test_a_viewer_looks_at_an_alert_and_changes_nothing(
    portal: Portal, tenant: Tenant, verb: str
) -> None:
    alert = AlertFactory.create(tenant=tenant)
    client, where = portal(Role.VIEWER), f"{ALERTS}{alert.pk}/"

    client.post(f"{where}{verb}/", {"text": "x", "assignee": ""})

    assert client.get(f"{where}change/").status_code == 200
    alert.refresh_from_db()
    assert alert.status == "open"
    assert alert.comments.count() == 0


def test_many_alerts_are_acknowledged_at_once(portal: Portal, tenant: Tenant) -> None:
    alerts = AlertFactory.create_batch(3, tenant=tenant)
    said: dict[str, Any] = {
        "action": "acknowledge_selected",
        ACTION_CHECKBOX_NAME: [str(alert.pk) for alert in alerts],
    }

    page = portal().post(ALERTS, said).content.decode()

    assert "3 done" in page
    assert not Alert.every_tenant.filter(acknowledged_at=None).exists()


@pytest.mark.parametrize("span", ["day", "week", "month", "century"])
def test_a_devices_page_draws_what_it_reports(
    portal: Portal, device: Device, span: str
) -> None:
    now = timezone.now()
    samples = every_five_minutes(now - timedelta(hours=2), [20, 30, 40])
    report(device, *samples, now=now)

    page = portal(Role.VIEWER).get(
        f"/admin/devices/device/{device.pk}/change/?span={span}"
    )

    said = page.content.decode()
    assert said.count('<path class="line"') == 2  # the processor, and connectivity
    assert "No data in this period." in said


def test_a_device_that_never_reported_says_so(portal: Portal, device: Device) -> None:
    page = portal().get(f"/admin/devices/device/{device.pk}/change/").content.decode()

    assert "has not reported any metrics yet" in page
    assert "No alerts of this device." in page


def test_the_first_page_shows_the_alerts_that_need_someone(
    portal: Portal, tenant: Tenant, device: Device
) -> None:
    AlertFactory.create(tenant=tenant, device=device, title="Small", severity="low")
    AlertFactory.create(tenant=tenant, device=device, title="Big", severity="critical")
    AlertFactory.create(title="A stranger's")

    page = portal(Role.VIEWER).get("/admin/").content.decode()

    assert page.index("Big") < page.index("Small")
    assert "A stranger's" not in page


def test_the_first_page_draws_the_fleet_as_soon_as_a_device_has_reported(
    portal: Portal, device: Device
) -> None:
    client, now = portal(Role.VIEWER), timezone.now()
    assert "No device has reported" in client.get("/admin/").content.decode()

    samples = every_five_minutes(now - timedelta(hours=2), [20, 30, 40])
    report(device, *samples, now=now)

    assert '<path class="line"' in client.get("/admin/").content.decode()


def test_the_first_page_says_when_nothing_needs_anybody(portal: Portal) -> None:
    assert "Nothing needs anybody now." in portal().get("/admin/").content.decode()
