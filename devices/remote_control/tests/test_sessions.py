"""Remote control sessions: exclusive control, and the reasons why a session ends."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from django.db import connection
from rest_framework.test import APIClient

from core.errors import DomainError
from devices.registry.models import Device, NextSteps
from devices.registry.services import quarantine, retirement
from devices.remote_control.errors import DeviceIsControlled
from devices.remote_control.models import CommandHistory, RemoteControlSession
from devices.remote_control.services import sessions
from devices.remote_control.services.sessions import IDLE
from devices.remote_control.tests.remote_control import (
    create_member,
    errors,
    issue_command,
    online_device,
)
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


@pytest.fixture
def device(tenant: Tenant) -> Device:
    return online_device(tenant, name="lobby")


def test_a_second_member_cannot_start_a_session(
    device: Device, member: Callable[..., APIClient]
) -> None:
    client, other = member(Role.OPERATOR), member(Role.OPERATOR)
    first = client.post(f"/remote-control/{device.pk}/session/start")

    second = other.post(f"/remote-control/{device.pk}/session/start")

    assert first.status_code == 201
    assert errors(second) == (409, [("device_controlled", None)])
    assert second.json()["current"]["controller"] == first.json()["controller"]


def test_starting_again_returns_the_existing_session(
    device: Device, member: Callable[..., APIClient]
) -> None:
    client = member(Role.OPERATOR)
    first = client.post(f"/remote-control/{device.pk}/session/start").json()

    again = client.post(f"/remote-control/{device.pk}/session/start")

    assert (again.status_code, again.json()["id"]) == (200, first["id"])


def test_the_status_names_the_controller(device: Device, member: Callable[..., APIClient]) -> None:
    controller, viewer = member(Role.OPERATOR), member(Role.VIEWER)
    controller.post(f"/remote-control/{device.pk}/session/start")

    for_controller = controller.get(f"/remote-control/{device.pk}/status").json()
    for_viewer = viewer.get(f"/remote-control/{device.pk}/status").json()

    assert (for_controller["online"], for_controller["is_mine"]) == (True, True)
    assert for_viewer["is_mine"] is False
    email = for_controller["session"]["controller"]
    assert for_viewer["session"]["controller"] == email


def test_a_viewer_cannot_control_a_device(device: Device, member: Callable[..., APIClient]) -> None:
    viewer = member(Role.VIEWER)

    for path in ("session/start", "session/end", "command"):
        assert viewer.post(f"/remote-control/{device.pk}/{path}").status_code == 403


def test_an_offline_device_cannot_be_controlled(
    tenant: Tenant, member: Callable[..., APIClient]
) -> None:
    device = online_device(tenant)
    Device.every_tenant.filter(pk=device.pk).update(status="offline")

    refused = member().post(f"/remote-control/{device.pk}/session/start")

    assert errors(refused) == (409, [("device_offline", None)])


def test_a_controller_ends_their_session(device: Device, member: Callable[..., APIClient]) -> None:
    controller, other = member(), member()
    controller.post(f"/remote-control/{device.pk}/session/start")

    ended = controller.post(f"/remote-control/{device.pk}/session/end").json()

    assert ended["end"] == "by_hand"
    assert ended["ended_at"]
    assert other.post(f"/remote-control/{device.pk}/session/start").status_code == 201


def test_only_an_administrator_ends_another_members_session(
    device: Device, member: Callable[..., APIClient]
) -> None:
    member().post(f"/remote-control/{device.pk}/session/start")

    refused = member().post(f"/remote-control/{device.pk}/session/end")
    ended = member(Role.ADMIN).post(f"/remote-control/{device.pk}/session/end")

    assert errors(refused) == (403, [("not_the_controller", None)])
    assert ended.json()["end"] == "administrator"


def test_ending_without_an_active_session_is_refused(
    device: Device, member: Callable[..., APIClient]
) -> None:
    refused = member().post(f"/remote-control/{device.pk}/session/end")

    assert errors(refused) == (404, [("session_not_found", None)])


class TestAutomaticEnd:
    @pytest.fixture
    def controller(self, tenant: Tenant) -> User:
        return create_member(tenant)

    @pytest.fixture
    def session(
        self, acting: Tenant, device: Device, controller: User, now: datetime
    ) -> RemoteControlSession:
        return sessions.start(device=device, controller=controller, now=now)[0]

    def end_reason(self, session: RemoteControlSession) -> str:
        session.refresh_from_db()
        return session.end

    def test_a_session_ends_after_five_minutes_without_use(
        self, session: RemoteControlSession, now: datetime
    ) -> None:
        assert sessions.end_expired(now=now + IDLE - SECOND) == 0
        assert sessions.end_expired(now=now + IDLE) == 1
        assert self.end_reason(session) == "idle"

    def test_a_command_extends_the_session(
        self, device: Device, controller: User, session: RemoteControlSession, now: datetime
    ) -> None:
        issue_command(
            device, "keypress", parameters={"key": "home"}, by=controller, now=now + IDLE - SECOND
        )

        assert sessions.end_expired(now=now + IDLE) == 0

    def test_an_idle_session_does_not_block_a_new_one(
        self, device: Device, session: RemoteControlSession, now: datetime
    ) -> None:
        other = create_member(session.tenant)

        new, is_new = sessions.start(device=device, controller=other, now=now + IDLE)

        assert is_new
        assert self.end_reason(session) == "idle"
        assert new.controller == other

    def test_a_session_ends_when_the_device_goes_offline(
        self, device: Device, session: RemoteControlSession, now: datetime
    ) -> None:
        Device.every_tenant.filter(pk=device.pk).update(status="offline")

        sessions.end_expired(now=now)

        assert self.end_reason(session) == "offline"

    def test_a_session_ends_when_the_device_is_retired(
        self, device: Device, session: RemoteControlSession, now: datetime
    ) -> None:
        retirement.retire(device=device, now=now)

        assert self.end_reason(session) == "device"

    def test_a_session_ends_when_the_device_is_put_in_quarantine(
        self, device: Device, session: RemoteControlSession, now: datetime
    ) -> None:
        quarantine.quarantine(device=device, now=now)

        sessions.end_expired(now=now)

        assert self.end_reason(session) == "device"

    def test_ending_a_session_cancels_its_queued_gestures(
        self, device: Device, controller: User, session: RemoteControlSession, now: datetime
    ) -> None:
        key = issue_command(device, "keypress", parameters={"key": "home"}, by=controller, now=now)
        reboot = issue_command(device, "reboot", by=controller, now=now)

        sessions.end(device=device, by=controller, may_end_others=False, now=now)

        key.refresh_from_db()
        reboot.refresh_from_db()
        assert (key.status, reboot.status) == ("cancelled", "queued")

    def test_a_session_publishes_an_event_at_its_start_and_end(
        self, session: RemoteControlSession, now: datetime
    ) -> None:
        sessions.end_expired(now=now + IDLE)

        names = Event.objects.filter(name__startswith="remote_control.")
        assert list(names.order_by("id").values_list("name", "data__session")) == [
            ("remote_control.started", str(session.pk)),
            ("remote_control.ended", str(session.pk)),
        ]


@pytest.mark.django_db(transaction=True)
def test_commanding_and_retiring_a_device_do_not_deadlock(tenant: Tenant, now: datetime) -> None:
    """Commanding and retiring a device take the same locks in the same order."""
    by = create_member(tenant)

    def issue_commands(device: Device) -> None:
        try:
            for _ in range(5):
                with suppress(DomainError):
                    issue_command(device, "reboot", by=by, now=now)
        finally:
            connection.close()

    def retire(device: Device) -> None:
        try:
            with tenant_scope(tenant.pk):
                retirement.retire(device=device, now=now)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        for device in [online_device(tenant) for _ in range(12)]:
            futures = [pool.submit(issue_commands, device), pool.submit(retire, device)]
            for future in futures:
                future.result()
    waiting = NextSteps.every_tenant.filter(commands_waiting__gt=0)
    assert not waiting.exists()
    assert not CommandHistory.every_tenant.open().exists()


@pytest.mark.django_db(transaction=True)
def test_one_of_many_concurrent_starts_succeeds(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    members = [create_member(tenant) for _ in range(8)]

    def attempt(controller: User) -> bool:
        try:
            with tenant_scope(tenant.pk):
                sessions.start(device=device, controller=controller, now=now)
        except DeviceIsControlled:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(attempt, members))

    assert results.count(True) == 1
    assert RemoteControlSession.every_tenant.open().count() == 1
