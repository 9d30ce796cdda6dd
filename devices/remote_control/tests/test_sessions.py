"""Sessions: one controller at a time, until one of them goes away."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from django.db import connection
from rest_framework.test import APIClient

from core.errors import DomainError
from devices.registry.models import Device, NextSteps
from devices.registry.services import quarantine, registration
from devices.remote_control.errors import DeviceIsControlled
from devices.remote_control.models import CommandHistory, RemoteControlSession
from devices.remote_control.services import sessions
from devices.remote_control.services.sessions import IDLE
from devices.remote_control.tests.remote_control import errors, online, person, told
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


@pytest.fixture
def device(tenant: Tenant) -> Device:
    return online(tenant, name="lobby")


def test_a_controller_has_a_device_to_themselves(
    device: Device, member: Callable[..., APIClient]
) -> None:
    mine, other = member(Role.OPERATOR), member(Role.OPERATOR)
    begun = mine.post(f"/remote-control/{device.pk}/session/start")

    second = other.post(f"/remote-control/{device.pk}/session/start")

    assert begun.status_code == 201
    assert errors(second) == (409, [("device_controlled", None)])
    assert second.json()["current"]["controller"] == begun.json()["controller"]


def test_a_controller_that_comes_back_finds_their_session(
    device: Device, member: Callable[..., APIClient]
) -> None:
    mine = member(Role.OPERATOR)
    begun = mine.post(f"/remote-control/{device.pk}/session/start").json()

    again = mine.post(f"/remote-control/{device.pk}/session/start")

    assert (again.status_code, again.json()["id"]) == (200, begun["id"])


def test_the_status_says_who_controls_it(
    device: Device, member: Callable[..., APIClient]
) -> None:
    mine, other = member(Role.OPERATOR), member(Role.VIEWER)
    mine.post(f"/remote-control/{device.pk}/session/start")

    told_me = mine.get(f"/remote-control/{device.pk}/status").json()
    told_them = other.get(f"/remote-control/{device.pk}/status").json()

    assert (told_me["online"], told_me["is_mine"]) == (True, True)
    assert told_them["is_mine"] is False
    assert told_them["session"]["controller"] == told_me["session"]["controller"]


def test_a_viewer_controls_nothing(
    device: Device, member: Callable[..., APIClient]
) -> None:
    viewer = member(Role.VIEWER)

    for path in ("session/start", "session/end", "command"):
        assert viewer.post(f"/remote-control/{device.pk}/{path}").status_code == 403


def test_a_device_that_is_offline_cannot_be_controlled(
    tenant: Tenant, member: Callable[..., APIClient]
) -> None:
    device = online(tenant)
    Device.every_tenant.filter(pk=device.pk).update(status="offline")

    refused = member().post(f"/remote-control/{device.pk}/session/start")

    assert errors(refused) == (409, [("device_offline", None)])


def test_a_session_ends_by_hand(
    device: Device, member: Callable[..., APIClient]
) -> None:
    mine, other = member(), member()
    mine.post(f"/remote-control/{device.pk}/session/start")

    ended = mine.post(f"/remote-control/{device.pk}/session/end").json()

    assert ended["end"] == "by_hand"
    assert ended["ended_at"]
    assert other.post(f"/remote-control/{device.pk}/session/start").status_code == 201


def test_only_an_administrator_ends_somebody_elses(
    device: Device, member: Callable[..., APIClient]
) -> None:
    member().post(f"/remote-control/{device.pk}/session/start")

    refused = member().post(f"/remote-control/{device.pk}/session/end")
    ended = member(Role.ADMIN).post(f"/remote-control/{device.pk}/session/end")

    assert errors(refused) == (403, [("not_the_controller", None)])
    assert ended.json()["end"] == "administrator"


def test_there_is_nothing_to_end_where_nobody_controls(
    device: Device, member: Callable[..., APIClient]
) -> None:
    refused = member().post(f"/remote-control/{device.pk}/session/end")

    assert errors(refused) == (404, [("session_not_found", None)])


class TestTheEndThatComesByItself:
    @pytest.fixture
    def controller(self, tenant: Tenant) -> User:
        return person(tenant)

    @pytest.fixture
    def session(
        self, acting: Tenant, device: Device, controller: User, now: datetime
    ) -> RemoteControlSession:
        return sessions.start(device=device, controller=controller, now=now)[0]

    def how_it_ended(self, session: RemoteControlSession) -> str:
        session.refresh_from_db()
        return session.end

    def test_after_five_minutes_without_use(
        self, session: RemoteControlSession, now: datetime
    ) -> None:
        assert sessions.end_over(now=now + IDLE - SECOND) == 0
        assert sessions.end_over(now=now + IDLE) == 1
        assert self.how_it_ended(session) == "idle"

    def test_a_command_is_use(
        self,
        device: Device,
        controller: User,
        session: RemoteControlSession,
        now: datetime,
    ) -> None:
        told(
            device,
            "keypress",
            parameters={"key": "home"},
            by=controller,
            now=now + IDLE - SECOND,
        )

        assert sessions.end_over(now=now + IDLE) == 0

    def test_by_the_clock_it_is_over_before_anybody_notes_it(
        self, device: Device, session: RemoteControlSession, now: datetime
    ) -> None:
        other = person(session.tenant)

        new, is_new = sessions.start(device=device, controller=other, now=now + IDLE)

        assert is_new
        assert self.how_it_ended(session) == "idle"
        assert new.controller == other

    def test_with_the_device_that_goes_offline(
        self, device: Device, session: RemoteControlSession, now: datetime
    ) -> None:
        Device.every_tenant.filter(pk=device.pk).update(status="offline")

        sessions.end_over(now=now)

        assert self.how_it_ended(session) == "offline"

    def test_with_the_device_that_is_retired(
        self, device: Device, session: RemoteControlSession, now: datetime
    ) -> None:
        registration.retire(device=device, now=now)

        assert self.how_it_ended(session) == "device"

    def test_with_the_device_that_is_put_in_quarantine(
        self, device: Device, session: RemoteControlSession, now: datetime
    ) -> None:
        quarantine.quarantine(device=device, now=now)

        sessions.end_over(now=now)

        assert self.how_it_ended(session) == "device"

    def test_what_was_still_to_be_pressed_is_pressed_by_nobody(
        self,
        device: Device,
        controller: User,
        session: RemoteControlSession,
        now: datetime,
    ) -> None:
        key = told(
            device, "keypress", parameters={"key": "home"}, by=controller, now=now
        )
        reboot = told(device, "reboot", by=controller, now=now)

        sessions.end(device=device, by=controller, may_end_others=False, now=now)

        key.refresh_from_db()
        reboot.refresh_from_db()
        assert (key.status, reboot.status) == ("cancelled", "queued")

    def test_both_ends_are_events(
        self, session: RemoteControlSession, now: datetime
    ) -> None:
        sessions.end_over(now=now + IDLE)

        names = Event.objects.filter(name__startswith="remote_control.")
        assert list(names.order_by("id").values_list("name", "data__session")) == [
            ("remote_control.started", str(session.pk)),
            ("remote_control.ended", str(session.pk)),
        ]


@pytest.mark.django_db(transaction=True)
def test_a_device_is_commanded_while_it_is_retired(
    tenant: Tenant, now: datetime
) -> None:
    """Both take the same locks, in the same order: nobody waits for good."""
    by = person(tenant)

    def commanding(device: Device) -> None:
        try:
            for _ in range(5):
                with suppress(DomainError):
                    told(device, "reboot", by=by, now=now)
        finally:
            connection.close()

    def retiring(device: Device) -> None:
        try:
            with tenant_scope(tenant.pk):
                registration.retire(device=device, now=now)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        for device in [online(tenant) for _ in range(12)]:
            both = [pool.submit(commanding, device), pool.submit(retiring, device)]
            for one in both:
                one.result()
    waiting = NextSteps.every_tenant.filter(commands_waiting__gt=0)
    assert not waiting.exists()
    assert not CommandHistory.every_tenant.open().exists()


@pytest.mark.django_db(transaction=True)
def test_of_many_who_start_at_once_one_gets_the_device(
    tenant: Tenant, device: Device, now: datetime
) -> None:
    people = [person(tenant) for _ in range(8)]

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
        got_it = list(pool.map(attempt, people))

    assert got_it.count(True) == 1
    assert RemoteControlSession.every_tenant.open().count() == 1
