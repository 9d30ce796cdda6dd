"""Portal pages of rules, alerts and metrics charts."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.utils import timezone

from devices.metrics.tests.reporting import every_five_minutes, report
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.monitoring.tests.factories import AlertFactory, RuleFactory
from devices.registry.models import Device
from devices.registry.tests.factories import TagFactory
from events.models import Event
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
    def log_in(role: Role = Role.OPERATOR) -> Client:
        client = Client()
        client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
        return client

    return log_in


def test_a_rule_is_back_tested_before_it_is_saved(
    portal: Portal, tenant: Tenant, device: Device
) -> None:
    now = timezone.now()
    start = now - timedelta(hours=3)
    report(device, *every_five_minutes(start, [95.0] * 20, "temperature"), now=now)
    rule = {**RULE, "lasting_minutes": "", "weekdays": ["1", "2", "3", "4", "5", "6", "7"]}
    rule |= {"opens_at": "", "closes_at": ""}

    page = portal().post(f"{RULES}preview/", rule).content.decode()

    assert "this rule would have opened 1 alert on 1 device" in page
    assert device.name in page
    assert not MonitoringRule.every_tenant.exists()
    assert not Event.every_tenant.filter(name__startswith="rule.").exists()
    faulty = portal().post(f"{RULES}preview/", {**rule, "threshold": "hot"}).content.decode()
    assert "Threshold: Enter a number." in faulty
    assert portal(Role.VIEWER).post(f"{RULES}preview/", rule).status_code == 403


def test_a_new_rule_starts_switched_off(portal: Portal) -> None:
    form = portal().get(f"{RULES}add/").context["adminform"].form

    assert form["is_enabled"].value() is False


def test_a_rule_can_be_created_and_changed(portal: Portal) -> None:
    client = portal()
    assert client.post(f"{RULES}add/", RULE).status_code == 302
    rule = MonitoringRule.every_tenant.get()
    assert (rule.lasting_seconds, rule.weekdays) == (600, [1, 2])
    assert rule.time_zone == "Europe/Berlin"

    changed = {**RULE, "threshold": "70", "is_enabled": ""}
    client.post(f"{RULES}{rule.pk}/change/", changed)

    rule.refresh_from_db()
    assert (rule.threshold, rule.is_enabled) == (70, False)


def test_the_page_of_an_alert_says_that_its_rule_was_deleted(
    portal: Portal, tenant: Tenant
) -> None:
    rule = RuleFactory.create(tenant=tenant, name="Hot")
    alert = AlertFactory.create(tenant=tenant, rule=rule, occurrences=4, reopened_at=timezone.now())
    client = portal()

    client.post(f"{RULES}{rule.pk}/delete/", {"post": "yes"})

    assert not client.get(RULES).context["cl"].result_list
    assert client.get(f"{RULES}{rule.pk}/change/").status_code == 302
    page = client.get(f"{ALERTS}{alert.pk}/change/").content.decode()
    assert "Hot (deleted)" in page
    assert "open 4 times in all" in page


def test_an_invalid_rule_shows_the_error_and_keeps_the_input(portal: Portal) -> None:
    response = portal().post(f"{RULES}add/", {**RULE, "scope": "tag", "tag_name": "none"})

    assert response.status_code == 200
    assert "There is no such tag." in response.content.decode()
    assert 'value="Hot"' in response.content.decode(), "the input is kept"


def test_a_back_test_page_shows_the_alerts_and_devices(
    portal: Portal, tenant: Tenant, device: Device
) -> None:
    rule = RuleFactory.create(tenant=tenant, is_enabled=False)
    now = timezone.now()
    report(device, *every_five_minutes(now - timedelta(hours=1), [95, 10, 10, 10, 95]), now=now)

    page = portal(Role.VIEWER).get(f"{RULES}{rule.pk}/back-test/").content.decode()

    assert "this rule would have opened 2 alerts on 1 device." in page
    assert device.name in page


def test_an_override_can_be_created_and_deleted(
    portal: Portal, tenant: Tenant, device: Device
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    TagFactory.create(tenant=tenant, name="hall")
    client, path = portal(), "/admin/monitoring/ruleoverride/"
    fields = {"rule": str(rule.pk), "tag_name": "hall", "threshold": "50"}

    both = client.post(f"{path}add/", {**fields, "device_id": str(device.pk)})
    assert "Enter one of a site, a tag or a device." in both.content.decode()
    assert client.post(f"{path}add/", fields).status_code == 302
    override = RuleOverride.every_tenant.get()
    assert override.threshold == 50
    assert "hall" in client.get(f"{RULES}{rule.pk}/change/").content.decode()

    client.post(f"{path}{override.pk}/delete/", {"post": "yes"})
    assert not RuleOverride.every_tenant.exists()


def test_a_member_can_acknowledge_assign_comment_and_close_an_alert(
    portal: Portal, tenant: Tenant, device: Device
) -> None:
    alert = AlertFactory.create(tenant=tenant, device=device)
    client, path = portal(), f"{ALERTS}{alert.pk}/"
    assignee = MembershipFactory.create(tenant=tenant).user.email

    client.post(f"{path}acknowledge/")
    client.post(f"{path}assign/", {"assignee": assignee})
    client.post(f"{path}comment/", {"text": "On <my> way"})
    page = client.get(f"{path}change/").content.decode()
    assert "On &lt;my&gt; way" in page
    client.post(f"{path}close/")

    alert.refresh_from_db()
    assert (alert.status, alert.assignee.email) == ("closed", assignee)
    assert alert.acknowledged_by is not None
    assert alert.closed_by == alert.acknowledged_by


@pytest.mark.parametrize("action", ["acknowledge", "assign", "comment", "close"])
def test_a_viewer_can_see_an_alert_but_not_change_it(
    portal: Portal, tenant: Tenant, action: str
) -> None:
    alert = AlertFactory.create(tenant=tenant)
    client, path = portal(Role.VIEWER), f"{ALERTS}{alert.pk}/"

    client.post(f"{path}{action}/", {"text": "x", "assignee": ""})

    assert client.get(f"{path}change/").status_code == 200
    alert.refresh_from_db()
    assert alert.status == "open"
    assert alert.comments.count() == 0


def test_several_alerts_can_be_acknowledged_at_once(portal: Portal, tenant: Tenant) -> None:
    alerts = AlertFactory.create_batch(3, tenant=tenant)
    data: dict[str, Any] = {
        "action": "acknowledge_selected",
        ACTION_CHECKBOX_NAME: [str(alert.pk) for alert in alerts],
    }

    page = portal().post(ALERTS, data).content.decode()

    assert "3 succeeded" in page
    assert not Alert.every_tenant.filter(acknowledged_at=None).exists()


@pytest.mark.parametrize(
    ("action", "field"),
    [("acknowledge_selected", "acknowledged_at"), ("close_selected", "closed_at")],
)
def test_all_alerts_that_match_the_filter_are_changed_however_many(
    portal: Portal, tenant: Tenant, action: str, field: str
) -> None:
    now = timezone.now()
    Alert.every_tenant.bulk_create(
        Alert(tenant=tenant, kind="metric", severity="high", title="Hot", since=now, opened_at=now)
        for _ in range(620)
    )
    low = AlertFactory.create(tenant=tenant, severity="low")
    other = AlertFactory.create(severity="high")
    chosen = Alert.every_tenant.filter(tenant=tenant, severity="high").first()
    assert chosen is not None
    data = {"action": action, "select_across": "1", ACTION_CHECKBOX_NAME: str(chosen.pk)}
    client, path = portal(), f"{ALERTS}?severity__exact=high"

    page = client.post(path, data)
    if action == "close_selected":
        assert "620 alerts" in page.content.decode()
        page = client.post(path, {**data, "confirmed": "yes"})

    assert page.status_code == 302
    changed = Alert.every_tenant.exclude(**{field: None})
    assert changed.count() == 620
    assert not changed.filter(pk__in=[low.pk, other.pk]).exists()
    assert Event.every_tenant.filter(name__startswith="alert.").count() == 620


@pytest.mark.parametrize("span", ["day", "week", "month", "century"])
def test_a_devices_page_shows_charts_of_its_samples(
    portal: Portal, device: Device, span: str
) -> None:
    now = timezone.now()
    samples = every_five_minutes(now - timedelta(hours=2), [20, 30, 40])
    report(device, *samples, now=now)

    response = portal(Role.VIEWER).get(
        f"/admin/devices/device/{device.pk}/change/?tab=metrics&span={span}"
    )

    page = response.content.decode()
    assert page.count("<canvas data-chart") == 2  # CPU and connectivity
    assert "No data in this period." in page


class TestPeriodOfCharts:
    def page(self, portal: Portal, device: Device, **period: str) -> str:
        query = urlencode({"tab": "metrics", **period})
        response = portal(Role.VIEWER).get(f"/admin/devices/device/{device.pk}/change/?{query}")
        text: str = response.content.decode()
        return text

    def test_a_chosen_period_shows_its_samples_only(self, portal: Portal, device: Device) -> None:
        now = timezone.now()
        report(device, *every_five_minutes(now - timedelta(hours=20), [21.5, 30, 40]), now=now)
        report(device, *every_five_minutes(now - timedelta(hours=2), [77.5]), now=now)
        begin, end = now - timedelta(hours=21), now - timedelta(hours=19)

        shown = self.page(portal, device, **{"from": begin.isoformat(), "until": end.isoformat()})

        assert "<td>21.5</td>" in shown
        assert "<td>77.5</td>" not in shown
        assert "Later" in shown

    def test_a_long_period_is_drawn_from_days(self, portal: Portal, device: Device) -> None:
        now = timezone.now()
        report(device, *every_five_minutes(now - timedelta(hours=2), [20, 40]), now=now)
        begin = now - timedelta(days=300)

        shown = self.page(portal, device, **{"from": begin.isoformat(), "until": now.isoformat()})

        assert "samples per day" in shown

    @pytest.mark.parametrize(
        ("begin", "end", "fault"),
        [
            ("yesterday", "2026-01-01T00:00", "Enter a begin and an end."),
            ("2026-01-01T00:00", "", "Enter a begin and an end."),
            ("2026-01-02T00:00", "2026-01-01T00:00", "at least ten minutes after"),
            ("1900-01-01T00:00", "2026-01-01T00:00", "too long ago"),
            ("0001-01-01T00:00", "9999-12-31T23:59", "too long ago"),
        ],
    )
    def test_an_invalid_period_shows_the_last_day_and_the_reason(
        self, portal: Portal, device: Device, begin: str, end: str, fault: str
    ) -> None:
        report(device, *every_five_minutes(timezone.now(), [20]), now=timezone.now())

        assert fault in self.page(portal, device, **{"from": begin, "until": end})


def test_the_page_of_a_device_without_samples_and_alerts_says_so(
    portal: Portal, device: Device
) -> None:
    page = f"/admin/devices/device/{device.pk}/change/"

    metrics = portal().get(f"{page}?tab=metrics").content.decode()
    assert "has not reported any metrics yet" in metrics
    assert "This device has no alerts." in portal().get(f"{page}?tab=alerts").content.decode()


def test_the_dashboard_shows_open_alerts_most_severe_first(
    portal: Portal, tenant: Tenant, device: Device
) -> None:
    AlertFactory.create(tenant=tenant, device=device, title="Small", severity="low")
    AlertFactory.create(tenant=tenant, device=device, title="Big", severity="critical")
    AlertFactory.create(title="Of another tenant")

    page = portal(Role.VIEWER).get("/admin/", follow=True).content.decode()

    assert page.index("Big") < page.index("Small")
    assert "Of another tenant" not in page


def test_the_dashboard_shows_fleet_charts_after_the_first_sample(
    portal: Portal, device: Device
) -> None:
    client, now = portal(Role.VIEWER), timezone.now()
    assert "No device has reported" in client.get("/admin/", follow=True).content.decode()

    samples = every_five_minutes(now - timedelta(hours=2), [20, 30, 40])
    report(device, *samples, now=now)

    assert "<canvas data-chart" in client.get("/admin/", follow=True).content.decode()


def test_the_dashboard_says_when_there_are_no_open_alerts(portal: Portal) -> None:
    assert (
        "There are no unacknowledged alerts."
        in portal().get("/admin/", follow=True).content.decode()
    )
