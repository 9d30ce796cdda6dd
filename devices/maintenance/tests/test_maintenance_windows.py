"""Maintenance windows: they hold alerts and commands back, and are shown where they apply."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from devices.maintenance.models import MaintenanceWindow
from devices.maintenance.services import open_windows, windows
from devices.monitoring.models import Alert
from devices.monitoring.services import evaluation
from devices.monitoring.tests.factories import AlertFactory, RuleFactory, silence_rule
from devices.registry.models import Device, DeviceTag
from devices.registry.tests.factories import DeviceFactory, SiteFactory, TagFactory
from devices.remote_control.errors import DeviceIsInMaintenance
from devices.remote_control.services import fetching, sessions
from devices.remote_control.tests.remote_control import create_member, issue_command
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
Member = Callable[..., APIClient]
HOUR = timedelta(hours=1)
EVENING = [{"days": ["sunday"], "from": "12:00", "until": "13:00"}]
LIST = "/admin/maintenance/maintenancewindow/"


def window(tenant: Tenant, now: datetime, **fields: Any) -> MaintenanceWindow:
    """Create a window that is open at `now` for an hour, by default for all devices."""
    times = {"starts_at": now - HOUR, "ends_at": now + HOUR}
    if "times" in fields:
        times = {}
        fields["recurrence"] = "weekly"
    with tenant_scope(tenant.pk):
        return windows.create(now=now, **{"name": "Works", **times, **fields})


def silent(tenant: Tenant, now: datetime, **fields: Any) -> Device:
    device: Device = DeviceFactory.create(tenant=tenant, last_seen=now - HOUR, **fields)
    return device


def alerts_after_evaluation(now: datetime) -> set[str]:
    evaluation.evaluate_all(now=now)
    return {str(row.device) for row in Alert.every_tenant.open().select_related("device")}


class TestAlerts:
    def test_no_alert_opens_in_a_window_and_it_opens_afterwards(
        self, tenant: Tenant, now: datetime
    ) -> None:
        silence_rule(tenant=tenant)
        silent(tenant, now, name="TV")
        window(tenant, now)

        assert alerts_after_evaluation(now) == set()
        assert alerts_after_evaluation(now + HOUR) == {"TV"}

    @pytest.mark.parametrize("scope", ["all", "site", "region", "tag", "device"])
    def test_a_window_concerns_the_devices_of_its_scope(
        self, tenant: Tenant, now: datetime, scope: str
    ) -> None:
        silence_rule(tenant=tenant)
        region = SiteFactory.create(tenant=tenant, name="North")
        site = SiteFactory.create(tenant=tenant, name="Shop", parent=region, path=[region.pk])
        site.path = [region.pk, site.pk]
        site.save()
        tag = TagFactory.create(tenant=tenant)
        inside = silent(tenant, now, name="inside", site=site)
        DeviceTag.every_tenant.create(tenant=tenant, device=inside, tag=tag)
        silent(tenant, now, name="outside")
        subjects: dict[str, Any] = {
            "all": {},
            "site": {"site": site},
            "region": {"scope": "site", "site": region},
            "tag": {"tag": tag},
            "device": {"device": inside},
        }
        window(tenant, now, **{"scope": scope, **subjects[scope]})

        expected = set() if scope == "all" else {"outside"}
        assert alerts_after_evaluation(now) == expected

    def test_a_window_of_another_tenant_holds_nothing(self, tenant: Tenant, now: datetime) -> None:
        silence_rule(tenant=tenant)
        silent(tenant, now, name="TV")
        window(TenantFactory.create(), now)

        assert alerts_after_evaluation(now) == {"TV"}

    def test_a_weekly_window_is_held_in_the_local_time_of_each_site(self, tenant: Tenant) -> None:
        now = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)  # Sunday, 12:30 in Berlin
        silence_rule(tenant=tenant)
        berlin = SiteFactory.create(tenant=tenant, name="Berlin", time_zone="Europe/Berlin")
        silent(tenant, now, name="in Berlin", site=berlin)
        silent(tenant, now, name="without a site")
        window(tenant, now, times=EVENING)

        assert alerts_after_evaluation(now) == {"without a site"}
        assert alerts_after_evaluation(now + HOUR) == {"in Berlin"} | {"without a site"}

    def test_a_weekly_window_can_have_a_time_zone(self, tenant: Tenant) -> None:
        now = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)
        silence_rule(tenant=tenant)
        silent(tenant, now, name="TV")
        window(tenant, now, times=EVENING, time_zone="Europe/Berlin")

        assert alerts_after_evaluation(now) == set()

    def test_an_open_alert_is_not_escalated_in_a_window_but_closes_when_its_cause_is_gone(
        self, tenant: Tenant, now: datetime
    ) -> None:
        rule = silence_rule(tenant=tenant, escalation_threshold=10, escalation_severity="critical")
        device = silent(tenant, now, name="TV")
        alert = AlertFactory.create(
            tenant=tenant, rule=rule, device=device, kind="silence", severity="low"
        )
        window(tenant, now)

        evaluation.evaluate_all(now=now)
        alert.refresh_from_db()
        assert (alert.severity, alert.closed_at) == ("low", None)

        Device.every_tenant.update(last_seen=now, status="online")
        evaluation.evaluate_all(now=now)
        alert.refresh_from_db()
        assert alert.closing == "cause_gone"

    def test_a_window_that_holds_only_commands_holds_no_alerts(
        self, tenant: Tenant, now: datetime
    ) -> None:
        RuleFactory.create(tenant=tenant)
        silence_rule(tenant=tenant)
        silent(tenant, now, name="TV")
        window(tenant, now, holds_alerts=False)

        assert alerts_after_evaluation(now) == {"TV"}


class TestCommands:
    def test_a_device_gets_a_waiting_command_after_the_window(
        self, acting: Tenant, now: datetime
    ) -> None:
        device = DeviceFactory.create(tenant=acting, status="online")
        issue_command(device, "reboot", by=create_member(acting), now=now)
        row = window(acting, now)

        assert self._fetched(device, now) == []
        windows.end(window=row, now=now + timedelta(minutes=1))
        assert self._fetched(device, now + timedelta(minutes=1)) == ["reboot"]

    def test_a_command_that_was_sent_before_the_window_is_sent_again(
        self, acting: Tenant, now: datetime
    ) -> None:
        device = DeviceFactory.create(tenant=acting, status="online")
        member = create_member(acting)
        issue_command(device, "reboot", by=member, now=now)
        assert self._fetched(device, now) == ["reboot"]
        issue_command(device, "restart", by=member, now=now)
        window(acting, now)

        assert self._fetched(device, now) == ["reboot"]

    def test_remote_control_is_refused_with_the_name_and_end_of_the_window(
        self, acting: Tenant, now: datetime
    ) -> None:
        device = DeviceFactory.create(tenant=acting, status="online")
        window(acting, now, name="New cables")

        with pytest.raises(DeviceIsInMaintenance, match=r"New cables .* until 2026-"):
            sessions.start(device=device, controller=create_member(acting), now=now)

    def test_a_window_that_holds_only_alerts_sends_commands(
        self, acting: Tenant, now: datetime
    ) -> None:
        device = DeviceFactory.create(tenant=acting, status="online")
        issue_command(device, "reboot", by=create_member(acting), now=now)
        window(acting, now, holds_commands=False)

        assert self._fetched(device, now) == ["reboot"]

    def _fetched(self, device: Device, now: datetime) -> list[str]:
        loaded = Device.every_tenant.select_related("next_steps").get(pk=device.pk)
        return [row.type for row in fetching.fetch(device=loaded, after=0, now=now)]


class TestApi:
    PATH = "/maintenance-windows"

    def test_a_window_is_created_changed_and_deleted(self, member: Member) -> None:
        client = member()
        body = {"name": "Works", "starts_at": "2126-01-01T20:00Z", "ends_at": "2126-01-02T04:00Z"}

        created = client.post(self.PATH, body)
        assert created.status_code == 201, created.json()
        path = f"{self.PATH}/{created.json()['id']}"
        assert client.patch(path, {"name": "Cables"}).json()["name"] == "Cables"
        assert [row["name"] for row in client.get(self.PATH).json()["results"]] == ["Cables"]
        assert client.delete(path).status_code == 204
        assert client.get(path).status_code == 404
        names = Event.every_tenant.filter(name__startswith="maintenance_window.")
        assert {event.name.rpartition(".")[2] for event in names} == {
            "created",
            "updated",
            "deleted",
        }

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({}, "starts_at"),
            ({"starts_at": "2126-01-02T00:00Z", "ends_at": "2126-01-01T00:00Z"}, "ends_at"),
            ({"starts_at": "2020-01-01T00:00Z", "ends_at": "2020-01-02T00:00Z"}, "ends_at"),
            ({"recurrence": "weekly"}, "times"),
            ({"recurrence": "weekly", "times": EVENING, "time_zone": "Mars/One"}, "time_zone"),
            ({"scope": "site", "recurrence": "weekly", "times": EVENING}, "site"),
            (
                {
                    "recurrence": "weekly",
                    "times": EVENING,
                    "holds_alerts": False,
                    "holds_commands": False,
                },
                "holds_alerts",
            ),
            ({"scope": "tag", "tag": "unknown", "recurrence": "weekly", "times": EVENING}, "tag"),
        ],
    )
    def test_invalid_windows_are_refused_with_the_field(
        self, member: Member, fields: dict[str, Any], field: str
    ) -> None:
        response = member().post(self.PATH, {"name": "Works", **fields})

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == field


@pytest.fixture
def portal(tenant: Tenant) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.OPERATOR).user)
    return client


class TestPortal:
    def test_the_form_plans_a_weekly_window(self, portal: Client, tenant: Tenant) -> None:
        SiteFactory.create(tenant=tenant, name="Shop")
        response = portal.post(
            f"{LIST}add/",
            {
                "name": "Night",
                "scope": "site",
                "site_name": "Shop",
                "recurrence": "weekly",
                "week_days": ["monday"],
                "week_from": "22:00",
                "week_until": "06:00",
                "holds_alerts": "on",
            },
        )

        assert response.status_code == 302
        row = MaintenanceWindow.every_tenant.get()
        assert row.times == [{"days": ["monday"], "from": "22:00", "until": "06:00"}]
        assert (row.holds_alerts, row.holds_commands) == (True, False)
        page = portal.get(LIST).content.decode()
        assert "monday 22:00 to 06:00, local time" in page
        assert "Opens " in page

    def test_the_page_of_a_device_shows_the_open_window(
        self, portal: Client, tenant: Tenant, device: Device
    ) -> None:
        window(tenant, datetime.now(UTC), name="New cables")

        page = portal.get(f"/admin/devices/device/{device.pk}/change/").content.decode()
        assert "In maintenance until" in page
        assert "New cables" in page
        tab = portal.get(f"/admin/devices/device/{device.pk}/change/?tab=alerts").content.decode()
        assert "Plan maintenance" in tab

    def test_the_page_of_a_site_shows_its_windows(self, portal: Client, tenant: Tenant) -> None:
        site = SiteFactory.create(tenant=tenant)
        window(tenant, datetime.now(UTC), scope="site", site=site, name="Painting")

        page = portal.get(f"/admin/devices/site/{site.pk}/change/").content.decode()
        assert "Painting" in page

    def test_an_open_window_is_ended_with_one_click(self, portal: Client, tenant: Tenant) -> None:
        row = window(tenant, datetime.now(UTC))

        portal.post(f"{LIST}{row.pk}/end-now/", follow=True)

        now = datetime.now(UTC)
        assert open_windows.open_windows(MaintenanceWindow.every_tenant.all(), now=now) == []
