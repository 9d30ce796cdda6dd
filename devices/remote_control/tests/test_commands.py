"""Commands as members give them: checked, in order, for a time, taken back."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from rest_framework.test import APIClient

from devices.registry.models import Device, DeviceHardware, NextSteps
from devices.registry.services import quarantine, registration
from devices.remote_control.errors import CommandNotAllowed
from devices.remote_control.models import CommandHistory
from devices.remote_control.services import command_expiry, fetching, policies, sessions
from devices.remote_control.tests.remote_control import errors, online, person, told
from events.models import Event
from tenants.models import Role, Tenant, User

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


@pytest.fixture
def device(tenant: Tenant) -> Device:
    return online(tenant)


@pytest.fixture
def operator(tenant: Tenant) -> User:
    return person(tenant)


@pytest.fixture
def client(member: Callable[..., APIClient]) -> APIClient:
    return member(Role.OPERATOR)


def waiting(device: Device) -> int:
    return NextSteps.every_tenant.get(device=device).commands_waiting


def status(command: CommandHistory) -> str:
    command.refresh_from_db()
    return command.status


class TestThroughTheApi:
    def test_a_gesture_wants_a_session(self, device: Device, client: APIClient) -> None:
        tap = {"type": "tap", "parameters": {"x": 1, "y": 1}}
        at = f"/remote-control/{device.pk}"

        refused = client.post(f"{at}/command", tap)
        client.post(f"{at}/session/start")
        issued = client.post(f"{at}/command", tap)

        assert errors(refused) == (409, [("session_needed", None)])
        assert issued.status_code == 201
        assert (issued.json()["status"], issued.json()["sequence"]) == ("queued", 1)

    def test_a_stale_controller_learns_that_they_are(
        self, device: Device, client: APIClient, member: Callable[..., APIClient]
    ) -> None:
        at = f"/remote-control/{device.pk}"
        session = client.post(f"{at}/session/start").json()["id"]
        member(Role.ADMIN).post(f"{at}/session/end")

        tap = {"type": "tap", "parameters": {"x": 1, "y": 1}, "session": session}
        refused = client.post(f"{at}/command", tap)

        assert errors(refused) == (409, [("session_ended", "session")])
        assert refused.json()["current"] == {"end": "administrator"}

    def test_nobody_commands_what_somebody_else_controls(
        self, device: Device, client: APIClient, member: Callable[..., APIClient]
    ) -> None:
        member().post(f"/remote-control/{device.pk}/session/start")

        refused = client.post(
            f"/remote-control/{device.pk}/command", {"type": "reboot"}
        )

        assert errors(refused) == (409, [("device_controlled", None)])
        assert not CommandHistory.every_tenant.exists()

    @pytest.mark.parametrize(
        ("said", "found"),
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
            (
                {"type": "reboot", "wait_seconds": 60},
                ("invalid_deadline", "wait_seconds"),
            ),
            (
                {"type": "wake_up", "wait_seconds": 60},
                ("invalid_deadline", "wait_seconds"),
            ),
            ({"type": "reload", "until": "noon"}, ("unknown_field", "until")),
            ({}, ("required", "type")),
        ],
    )
    def test_what_cannot_be_done_is_refused_by_the_field_at_fault(
        self,
        device: Device,
        client: APIClient,
        said: dict[str, object],
        found: tuple[str, str],
    ) -> None:
        refused = client.post(f"/remote-control/{device.pk}/command", said)

        assert errors(refused) == (400, [found])
        assert not CommandHistory.every_tenant.exists()

    def test_what_is_off_the_screen_is_refused(
        self, device: Device, client: APIClient
    ) -> None:
        DeviceHardware.every_tenant.create(
            tenant=device.tenant, device=device, screen_width=1280, screen_height=720
        )
        at = f"/remote-control/{device.pk}"
        client.post(f"{at}/session/start")

        tap = {"type": "tap", "parameters": {"x": 1280, "y": 10}}
        refused = client.post(f"{at}/command", tap)

        assert errors(refused) == (400, [("off_screen", "parameters.x")])

    def test_the_history_has_each_command_the_newest_first(
        self, device: Device, client: APIClient
    ) -> None:
        at = f"/remote-control/{device.pk}"
        for type in ("reload", "reboot"):
            client.post(f"{at}/command", {"type": type})

        history = client.get(f"{at}/commands").json()["results"]
        narrowed = client.get(f"{at}/commands?type=reload").json()["results"]

        assert [row["type"] for row in history] == ["reboot", "reload"]
        assert [row["type"] for row in narrowed] == ["reload"]
        assert client.get(f"{at}/commands?type=").status_code == 400

    def test_the_types_say_what_they_are_and_whether_they_are_allowed(
        self, device: Device, client: APIClient, member: Callable[..., APIClient]
    ) -> None:
        member(Role.ADMIN).patch(
            "/remote-control/policy", {"allowed_types": ["reload", "tap"]}
        )

        types = client.get("/remote-control/command-types").json()["results"]
        refused = client.post(
            f"/remote-control/{device.pk}/command", {"type": "reboot"}
        )

        allowed = {type["name"] for type in types if type["is_allowed"]}
        assert allowed == {"tap", "reload"}
        assert errors(refused) == (403, [("command_not_allowed", None)])

    def test_only_an_administrator_says_what_is_allowed(
        self, client: APIClient
    ) -> None:
        refused = client.patch("/remote-control/policy", {"allowed_types": []})

        assert refused.status_code == 403
        assert "tap" in client.get("/remote-control/policy").json()["allowed_types"]

    def test_a_command_that_waits_can_be_called_back_once(
        self, tenant: Tenant, client: APIClient
    ) -> None:
        device = online(tenant)
        Device.every_tenant.filter(pk=device.pk).update(status="offline")
        issued = client.post(
            f"/remote-control/{device.pk}/command", {"type": "reboot"}
        ).json()

        at = f"/remote-control/commands/{issued['id']}"
        back = client.post(f"{at}/cancel")
        again = client.post(f"{at}/cancel")

        assert back.json()["status"] == "cancelled"
        assert errors(again) == (409, [("command_not_cancellable", None)])
        assert client.get(at).json()["ended_at"]
        assert waiting(device) == 0


class TestInTheQueue:
    def test_each_device_has_numbers_of_its_own_that_rise_by_one(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        other = online(acting)

        mine = [told(device, "reload", by=operator, now=now) for _ in range(3)]
        theirs = told(other, "reload", by=operator, now=now)

        assert [command.sequence for command in mine] == [1, 2, 3]
        assert theirs.sequence == 1

    def test_a_newer_one_takes_the_place_of_one_that_waits(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        loud = told(
            device, "set_volume", parameters={"volume": 90}, by=operator, now=now
        )
        reload = told(device, "reload", by=operator, now=now)

        quiet = told(
            device, "set_volume", parameters={"volume": 10}, by=operator, now=now
        )

        assert (status(loud), status(reload), status(quiet)) == (
            *("superseded", "queued", "queued"),
        )
        assert waiting(device) == 2

    def test_one_that_the_device_has_is_not_replaced(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        first = told(device, "reboot", by=operator, now=now)
        fetching.fetch(device=device, after=0, now=now)

        told(device, "reboot", by=operator, now=now)

        assert status(first) == "sent"

    def test_gestures_are_all_done(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        sessions.start(device=device, controller=operator, now=now)

        keys = [
            told(device, "keypress", parameters={"key": "down"}, by=operator, now=now)
            for _ in range(2)
        ]

        assert [status(key) for key in keys] == ["queued", "queued"]

    def test_what_makes_sense_later_waits_for_a_device_that_is_offline(
        self, acting: Tenant, operator: User, now: datetime
    ) -> None:
        device = online(acting)
        Device.every_tenant.filter(pk=device.pk).update(status="offline")

        reboot = told(device, "reboot", by=operator, now=now, wait=timedelta(hours=6))
        command_expiry.expire_overdue(now=now + timedelta(hours=6) - SECOND)
        assert status(reboot) == "queued"

        command_expiry.expire_overdue(now=now + timedelta(hours=6))
        assert status(reboot) == "expired"
        assert reboot.reason == "The device did not fetch it in time."
        assert waiting(device) == 0

    def test_what_does_not_wait_expires_after_half_a_minute(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        wake_up = told(device, "wake_up", by=operator, now=now)

        assert wake_up.status_at(now + timedelta(seconds=29)) == "queued"
        assert wake_up.status_at(now + timedelta(seconds=30)) == "expired"
        assert command_expiry.expire_overdue(now=now + timedelta(seconds=30)) == 1

    def test_text_that_was_typed_is_not_kept(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        sessions.start(device=device, controller=operator, now=now)
        typed = told(
            device, "input", parameters={"text": "pa55word"}, by=operator, now=now
        )

        command_expiry.expire_overdue(now=now + timedelta(minutes=1))

        typed.refresh_from_db()
        assert typed.parameters == {"text": "…"}
        assert not Event.every_tenant.filter(data__icontains="pa55word").exists()

    def test_a_retired_device_is_told_nothing_any_more(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        reboot = told(device, "reboot", by=operator, now=now)

        registration.retire(device=device, now=now)

        assert status(reboot) == "cancelled"
        assert waiting(device) == 0

    def test_nothing_is_queued_for_a_device_in_quarantine(
        self, acting: Tenant, device: Device, now: datetime, client: APIClient
    ) -> None:
        quarantine.quarantine(device=device, now=now)

        refused = client.post(
            f"/remote-control/{device.pk}/command", {"type": "reboot"}
        )

        assert errors(refused) == (409, [("device_quarantined", None)])

    def test_what_is_no_gesture_is_an_event_at_both_ends(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        reboot = told(device, "reboot", by=operator, now=now)
        command_expiry.expire_overdue(now=now + timedelta(days=2))

        events = Event.objects.filter(name__startswith="command.").order_by("id")
        assert [(event.name, event.data["command"]) for event in events] == [
            ("command.issued", str(reboot.pk)),
            ("command.ended", str(reboot.pk)),
        ]

    def test_a_policy_that_nobody_has_made_allows_everything(
        self, acting: Tenant, device: Device, operator: User, now: datetime
    ) -> None:
        told(device, "reboot", by=operator, now=now)

        policies.change(allowed_types=["tap"], now=now)
        with pytest.raises(CommandNotAllowed):
            told(device, "reboot", by=operator, now=now)
        policies.change(allowed_types=["reboot"], now=now)
        told(device, "reboot", by=operator, now=now)
