"""The wall of screens, and screenshots on a schedule."""

import io
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from PIL import Image

from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory, SiteFactory
from devices.remote_control.models import BulkCommand, CommandHistory, Screenshot
from devices.remote_control.services import policies, scheduled_screenshots, screenshots
from devices.remote_control.tasks import take_scheduled_screenshots
from devices.remote_control.tests.remote_control import online_device, picture
from events.models import Event
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
SCREENS = "/admin/screens/"


def signed_in(tenant: Tenant, role: Role = Role.OPERATOR) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
    return client


def add_screenshot(device: Device, at: datetime) -> Screenshot:
    data = picture(size=(1280, 720))
    image = screenshots.inspect_image(data)
    command = CommandHistory.every_tenant.create(
        tenant=device.tenant,
        device=device,
        sequence=int(at.timestamp()),
        type="screenshot",
        issued_by="a@example.com",
        issued_at=at,
        expires_at=at,
        due_at=at,
    )
    row: Screenshot = Screenshot.every_tenant.create(
        tenant=device.tenant,
        device=device,
        command=command,
        taken_at=at,
        content_type=image.content_type,
        width=image.width,
        height=image.height,
        size=len(data),
        image=data,
        thumbnail=image.thumbnail,
    )
    return row


class TestWall:
    def test_each_device_is_shown_with_its_last_screenshot_or_an_honest_placeholder(
        self, tenant: Tenant, now: datetime
    ) -> None:
        seen = online_device(tenant, last_seen=now)
        add_screenshot(seen, now - timedelta(days=1))
        last = add_screenshot(seen, now)
        DeviceFactory.create(tenant=tenant, name="New", site=SiteFactory.create(tenant=tenant))
        DeviceFactory.create(tenant=tenant, name="Gone", status="retired", retired_at=now)

        page = signed_in(tenant, Role.VIEWER).get(SCREENS).content.decode()

        assert page.count("<article") == 2
        assert f"screenshot/{last.pk}/thumbnail/" in page
        assert "No screenshot yet" in page
        assert "Never connected" in page
        assert "New screenshots of" not in page

    def test_screens_are_filtered_like_the_list_of_devices(self, tenant: Tenant) -> None:
        site = SiteFactory.create(tenant=tenant)
        DeviceFactory.create(tenant=tenant, name="At the site", site=site)
        DeviceFactory.create(tenant=tenant, name="Elsewhere")
        client = signed_in(tenant)

        page = client.get(SCREENS, {"site": site.name}).content.decode()
        assert "At the site" in page
        assert "Elsewhere" not in page
        assert "No device matches." in client.get(SCREENS, {"tag": "none"}).content.decode()
        assert client.get(SCREENS, {"status": "exploded"}).status_code == 200
        assert client.get(SCREENS, {"page": "x" * 99, "q": "\x00"}).status_code == 200

    def test_a_page_has_sixty_screens_and_a_constant_number_of_queries(
        self, tenant: Tenant, now: datetime
    ) -> None:
        client = signed_in(tenant)
        client.get(SCREENS)  # the first request fills caches
        counts = []
        for number in (2, 59):
            for _ in range(number):
                add_screenshot(online_device(tenant), now)
            with CaptureQueriesContext(connection) as queries:
                page = client.get(SCREENS).content.decode()
            counts.append(len(queries))

        assert counts[0] == counts[1]
        assert page.count("<article") == 60
        assert client.get(SCREENS, {"page": "2"}).content.decode().count("<article") == 1

    def test_thumbnails_are_small_and_older_screenshots_are_shown_whole(
        self, tenant: Tenant, now: datetime
    ) -> None:
        shot = add_screenshot(online_device(tenant), now)
        client = signed_in(tenant, Role.VIEWER)
        path = f"/admin/remote_control/remotecontrolsession/screenshot/{shot.pk}/thumbnail/"

        with Image.open(io.BytesIO(client.get(path).content)) as image:
            assert (image.format, image.size) == ("JPEG", (360, 203))
        Screenshot.every_tenant.update(thumbnail=None)
        assert client.get(path)["Content-Type"] == "image/png"
        assert signed_in(TenantFactory.create()).get(path).status_code == 404

    def test_new_screenshots_are_requested_for_the_selected_devices(self, tenant: Tenant) -> None:
        first, second = online_device(tenant), online_device(tenant)
        foreign = online_device(TenantFactory.create())
        client = signed_in(tenant)

        ids = [str(first.pk), str(foreign.pk), "nonsense"]
        page = client.post(f"{SCREENS}take/", {"device": ids}, follow=True).content.decode()

        assert "Screenshots requested: 1." in page
        bulk = BulkCommand.every_tenant.get()
        assert (bulk.type, bulk.filter) == ("screenshot", {"devices": str(first.pk)})
        page = client.post(f"{SCREENS}take/", {"all": "1"}, follow=True).content.decode()
        assert "Screenshots requested: 2." in page
        assert second.tenant_id == tenant.pk

    def test_reasons_are_given_if_no_screenshot_can_be_requested(self, tenant: Tenant) -> None:
        offline = DeviceFactory.create(tenant=tenant)
        client = signed_in(tenant)

        nothing = client.post(f"{SCREENS}take/", {}, follow=True)
        assert "Select devices first." in nothing.content.decode()
        unreachable = client.post(f"{SCREENS}take/", {"device": [str(offline.pk)]}, follow=True)
        assert "None of these devices is online" in unreachable.content.decode()
        viewer = signed_in(tenant, Role.VIEWER)
        assert viewer.post(f"{SCREENS}take/", {"all": "1"}).status_code == 403


class TestSchedule:
    @staticmethod
    def schedule(tenant: Tenant, minutes: int, now: datetime) -> None:
        with tenant_scope(tenant.pk):
            policies.change(screenshot_minutes=minutes, now=now)

    @staticmethod
    def run(now: datetime) -> int:
        with every_tenant_scope():
            return scheduled_screenshots.issue_due(now=now)

    def test_each_online_device_has_its_turn_once_in_an_interval(
        self, tenant: Tenant, now: datetime
    ) -> None:
        devices = [online_device(tenant) for _ in range(8)]
        DeviceFactory.create(tenant=tenant)  # offline
        online_device(tenant, quarantined_at=now)
        online_device(TenantFactory.create())  # of a tenant without a schedule
        self.schedule(tenant, 15, now)
        before = Event.every_tenant.count()

        requested = [self.run(now + timedelta(minutes=minute)) for minute in range(15)]

        assert sum(requested) == len(devices)
        rows = CommandHistory.every_tenant.all()
        assert {row.device_id for row in rows} == {device.pk for device in devices}
        assert {(row.type, row.issued_by) for row in rows} == {("screenshot", "schedule")}
        assert Event.every_tenant.count() == before

    def test_nothing_is_taken_if_the_policy_does_not_allow_screenshots(
        self, tenant: Tenant, now: datetime
    ) -> None:
        online_device(tenant)
        self.schedule(tenant, 15, now)
        with tenant_scope(tenant.pk):
            policies.change(allowed_types=["reboot"], now=now)

        assert sum(self.run(now + timedelta(minutes=minute)) for minute in range(15)) == 0

    def test_it_is_off_by_default(self, tenant: Tenant) -> None:
        online_device(tenant)

        assert take_scheduled_screenshots() is None or not CommandHistory.every_tenant.exists()

    @pytest.mark.parametrize("minutes", [1, -1, 100])
    def test_other_intervals_are_refused(self, tenant: Tenant, member: Any, minutes: int) -> None:
        client = member(Role.ADMIN)

        response = client.patch("/remote-control/policy", {"screenshot_minutes": minutes})

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == "screenshot_minutes"
        assert client.patch("/remote-control/policy", {"screenshot_minutes": 60}).status_code == 200
        assert client.get("/remote-control/policy").json()["screenshot_minutes"] == 60
