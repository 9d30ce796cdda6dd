"""Issuing commands: validation, queue order, expiry and cancellation."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from rest_framework.test import APIClient

from devices.registry.models import Device, DeviceHardware, NextSteps
from devices.registry.services import quarantine, retirement
from devices.remote_control.errors import CommandNotAllowed
from devices.remote_control.models import CommandHistory
from devices.remote_control.services import command_expiry, fetching, policies, sessions
from devices.remote_control.tests.remote_control import (
    create_member,
    errors,
    issue_command,
    online_device,
)
from events.models import Event
from tenants.models import Role, Tenant, User

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


@pytest.fixture
def device(tenant: Tenant) -> Device:
    return online_device(tenant)


@pytest.fixture
def operator(tenant: Tenant) -> User:
    return create_member(tenant)


@pytest.fixture
def client(member: Callable[..., APIClient]) -> APIClient:
    return member(Role.OPERATOR)


def waiting_count(device: Device) -> int:
    return NextSteps.every_tenant.get(device=device).commands_waiting


def status(command: CommandHistory) -> str:
    command.refresh_from_db()
    return command.status


class TestApi:
    def test_a_gesture_requires_a_session(self, device: Device, client: APIClient) -> None:
        tap = {"type": "tap", "parameters": {"x": 1, "y": 1}}
        path = f"/remote-control/{device.pk}"

        refused = client.post(f"{path}/command", tap)
        client.post(f"{path}/session/start")
        issued = client.post(f"{path}/command", tap)

        assert errors(refused) == (409, [("session_required", None)])
        assert issued.status_code == 201
        assert (issued.json()["status"], issued.json()["sequence"]) == ("queued", 1)

    def test_a_command_in_an_ended_session_is_refused(
        self, device: Device, client: APIClient, member: Callable[..., APIClient]
    ) -> None:
        path = f"/remote-control/{device.pk}"
        session = client.post(f"{path}/session/start").json()["id"]
        member(Role.ADMIN).post(f"{path}/session/end")

        tap = {"type": "tap", "parameters": {"x": 1, "y": 1}, "session": session}
        refused = client.post(f"{path}/command", tap)

        assert errors(refused) == (409, [("session_ended", "session")])
        assert refused.json()["current"] == {"end": "administrator"}

    def test_a_device_that_another_member_controls_cannot_be_commanded(
        self, device: Device, client: APIClient, member: Callable[..., APIClient]
    ) -> None:
        member().post(f"/remote-control/{device.pk}/session/start")

        refused = client.post(f"/remote-control/{device.pk}/command", {"type": "reboot"})

        assert errors(refused) == (409, [("device_controlled", None)])
        assert not CommandHistory.every_tenant.exists()

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({"type": "explode"}, ("invalid_choice", "type")),
            (
                {"type": "set_volume", "parameters": {"volume": 500}},
                ("max_value", "parameters.volume"),
            ),
            (
                {"type": "reload", "parameters": {"hard": True}},
                ("unknown_field", "parameters.hard"),
            ),
            ({"type": "reboot", "wait_seconds": 60}, ("invalid_deadline", "wait_seconds")),
            ({"type": "wake_up", "wait_seconds": 60}, ("invalid_deadline", "wait_seconds")),
            ({"type": "reload", "until": "noon"}, ("unknown_field", "until")),
            ({}, ("required", "type")),
        ],
    )
    def test_an_invalid_command_is_refused_with_its_field(
        self, device: Device, client: APIClient, body: dict[str, object], expected: tuple[str, str]
    ) -> None:
        refused = client.post(f"/remote-control/{device.pk}/command", body)

        assert errors(refused) == (400, [expected])
        assert not CommandHistory.every_tenant.exists()

    def test_a_point_off_the_screen_is_refused(self, device: Device, client: APIClient) -> None:
        DeviceHardware.every_tenant.create(
            tenant=device.tenant, device=device, screen_width=1280, screen_height=720
        )
        path = f"/remote-control/{device.pk}"
        client.post(f"{path}/session/start")

        tap = {"type": "tap", "parameters": {"x": 1280, "y": 10}}
        refused = client.post(f"{path}/command", tap)

        assert errors(refused) == (400, [("off_screen", "parameters.x")])

    def test_the_history_lists_commands_newest_first(
        self, device: Device, client: APIClient
    ) -> None:
        path = f"/remote-control/{device.pk}"
        for type in ("reload", "reboot"):
            client.post(f"{path}/command", {"type": type})

        history = client.get(f"{path}/commands").json()["results"]
        filtered = client.get(f"{path}/commands?type=reload").json()["results"]

        assert [row["type"] for row in history] == ["reboot", "reload"]
        assert [row["type"] for row in filtered] == ["reload"]
        assert client.get(f"{path}/commands?type=").status_code == 400

    def test_the_policy_decides_which_types_are_allowed(
        self, device: Device, client: APIClient, member: Callable[..., APIClient]
    ) -> None:
        member(Role.ADMIN).patch("/remote-control/policy", {"allowed_types": ["reload", "tap"]})

        types = client.get("/remote-control/command-types").json()["results"]
        refused = client.post(f"/remote-control/{device.pk}/command", {"type": "reboot"})

        allowed = {type["name"] for type in types if type["is_allowed"]}
        assert allowed == {"tap", "reload"}
        assert errors(refused) == (403, [("command_not_allowed", None)])

    def test_only_an_administrator_changes_the_policy(self, client: APIClient) -> None:
        refused = client.patch("/remote-control/policy", {"allowed_types": []})

        assert refused.status_code == 403
        assert "tap" in client.get("/remote-control/policy").json()["allowed_types"]

    def test_a_queued_command_can_be_cancelled_once(
        self, tenant: Tenant, client: APIClient
    ) -> None:
        device = online_device(tenant)
        Device.every_tenant.filter(pk=device.pk).update(status="offline")
        issued = client.post(f"/remote-control/{device.pk}/command", {"type": "reboot"}).json()

        path = f"/remote-control/commands/{issued['id']}"
        cancelled = client.post(f"{path}/cancel")
        again = client.post(f"{path}/cancel")

        assert cancelled.json()["status"] == "cancelled"
        assert errors(again) == (409, [("command_not_cancellable", None)])
        assert client.get(path).json()["ended_at"]
        assert waiting_count(device) == 0


class TestQueue:
    def test_sequence_numbers_rise_by_one_per_device(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        other = online_device(acting)

        commands = [issue_command(device, "reload", by=operator, now=now) for _ in range(3)]
        other_command = issue_command(other, "reload", by=operator, now=now)

        assert [command.sequence for command in commands] == [1, 2, 3]
        assert other_command.sequence == 1

    def test_a_new_command_supersedes_a_queued_one_of_its_type(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        loud = issue_command(device, "set_volume", parameters={"volume": 90}, by=operator, now=now)
        reload = issue_command(device, "reload", by=operator, now=now)

        quiet = issue_command(device, "set_volume", parameters={"volume": 10}, by=operator, now=now)

        assert status(loud) == "superseded"
        assert status(reload) == "queued"
        assert status(quiet) == "queued"
        assert waiting_count(device) == 2

    def test_a_sent_command_is_not_superseded(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        first = issue_command(device, "reboot", by=operator, now=now)
        fetching.fetch(device=device, after=0, now=now)

        issue_command(device, "reboot", by=operator, now=now)

        assert status(first) == "sent"

    def test_gestures_do_not_supersede_each_other(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        sessions.start(device=device, controller=operator, now=now)

        keys = [
            issue_command(device, "keypress", parameters={"key": "down"}, by=operator, now=now)
            for _ in range(2)
        ]

        assert [status(key) for key in keys] == ["queued", "queued"]

    def test_a_command_waits_for_an_offline_device_until_its_deadline(
        self, acting: Tenant, operator: User, now: datetime
    ) -> None:
        device = online_device(acting)
        Device.every_tenant.filter(pk=device.pk).update(status="offline")

        reboot = issue_command(device, "reboot", by=operator, now=now, wait=timedelta(hours=6))
        command_expiry.expire_overdue(now=now + timedelta(hours=6) - SECOND)
        assert status(reboot) == "queued"

        command_expiry.expire_overdue(now=now + timedelta(hours=6))
        assert status(reboot) == "expired"
        assert reboot.reason == "The device did not fetch the command in time."
        assert waiting_count(device) == 0

    def test_a_command_that_does_not_wait_expires_after_30_seconds(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        wake_up = issue_command(device, "wake_up", by=operator, now=now)

        assert wake_up.status_at(now + timedelta(seconds=29)) == "queued"
        assert wake_up.status_at(now + timedelta(seconds=30)) == "expired"
        assert command_expiry.expire_overdue(now=now + timedelta(seconds=30)) == 1

    def test_typed_text_is_redacted_when_the_command_ends(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        sessions.start(device=device, controller=operator, now=now)
        typed = issue_command(
            device, "input", parameters={"text": "pa55word"}, by=operator, now=now
        )

        command_expiry.expire_overdue(now=now + timedelta(minutes=1))

        typed.refresh_from_db()
        assert typed.parameters == {"text": "…"}
        assert not Event.every_tenant.filter(data__icontains="pa55word").exists()

    def test_retiring_a_device_cancels_its_commands(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        reboot = issue_command(device, "reboot", by=operator, now=now)

        retirement.retire(device=device, now=now)

        assert status(reboot) == "cancelled"
        assert waiting_count(device) == 0

    def test_a_device_in_quarantine_cannot_be_commanded(
        self, acting: Tenant, device: Device, now: datetime, client: APIClient
    ) -> None:
        quarantine.quarantine(device=device, now=now)

        refused = client.post(f"/remote-control/{device.pk}/command", {"type": "reboot"})

        assert errors(refused) == (409, [("device_quarantined", None)])

    def test_a_command_publishes_an_event_when_issued_and_when_ended(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        reboot = issue_command(device, "reboot", by=operator, now=now)
        command_expiry.expire_overdue(now=now + timedelta(days=2))

        events = Event.objects.filter(name__startswith="command.").order_by("id")
        assert [(event.name, event.data["command"]) for event in events] == [
            ("command.issued", str(reboot.pk)),
            ("command.ended", str(reboot.pk)),
        ]

    def test_the_default_policy_allows_all_types(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        issue_command(device, "reboot", by=operator, now=now)

        policies.change(allowed_types=["tap"], now=now)
        with pytest.raises(CommandNotAllowed):
            issue_command(device, "reboot", by=operator, now=now)
        policies.change(allowed_types=["reboot"], now=now)
        issue_command(device, "reboot", by=operator, now=now)
