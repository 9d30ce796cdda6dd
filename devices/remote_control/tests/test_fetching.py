"""A device's side: it fetches its commands in order, and says what comes of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices.registry.models import Device, NextSteps
from devices.registry.queries import hold
from devices.remote_control import queries as hot_path
from devices.remote_control.errors import CommandIsOver
from devices.remote_control.models import CommandHistory
from devices.remote_control.services import fetching, sessions
from devices.remote_control.tests.remote_control import errors, online, person, told
from tenants.context import tenant_scope
from tenants.models import Tenant, User

pytestmark = pytest.mark.django_db
MINE = "/devices/me/commands"


@pytest.fixture
def device(acting: Tenant) -> Device:
    return online(acting)


@pytest.fixture
def operator(tenant: Tenant) -> User:
    return person(tenant)


@pytest.fixture
def command(device: Device, operator: User) -> CommandHistory:
    """One that waits now, as the device's clock has it."""
    return told(device, "reboot", by=operator, now=datetime.now().astimezone())


def fresh(device: Device) -> Device:
    """As it comes with its credential."""
    found: Device = Device.every_tenant.select_related("next_steps").get(pk=device.pk)
    return found


def fetched(device: Device, after: int, now: datetime) -> list[str]:
    rows = fetching.fetch(device=fresh(device), after=after, now=now)
    return [row.type for row in rows]


def answered(command: CommandHistory, status: str, now: datetime, **more: Any) -> str:
    row = fetching.answer(
        device=command.device, command_id=command.pk, status=status, now=now, **more
    )
    return row.status


class TestFetching:
    def test_commands_come_in_their_order(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        for type in ("reload", "reboot", "restart"):
            told(device, type, by=operator, now=now)

        assert fetched(device, 0, now) == ["reload", "reboot", "restart"]

    def test_an_answer_that_was_lost_is_given_again(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        reload = told(device, "reload", by=operator, now=now)
        fetched(device, 0, now)

        assert fetched(device, 0, now) == ["reload"]
        reload.refresh_from_db()
        assert reload.status == "sent"

    def test_what_the_device_has_seen_has_arrived_and_does_not_come_again(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        reload = told(device, "reload", by=operator, now=now)
        fetched(device, 0, now)
        told(device, "reboot", by=operator, now=now)

        assert fetched(device, 1, now) == ["reboot"]
        reload.refresh_from_db()
        assert (reload.status, reload.delivered_at) == ("delivered", now)

    def test_what_has_expired_is_not_handed_out(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        told(device, "wake_up", by=operator, now=now)

        assert fetched(device, 0, now + timedelta(seconds=30)) == []

    def test_a_device_that_has_forgotten_everything_gets_what_is_open(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        told(device, "reload", by=operator, now=now)
        fetched(device, 0, now)
        fetched(device, 1, now)

        assert fetched(device, 0, now) == ["reload"]

    def test_connect_tells_how_many_wait_and_where_the_stream_is(
        self,
        device: Device,
        command: CommandHistory,
        as_device: Callable[..., APIClient],
    ) -> None:
        client = as_device(device)

        before = client.post("/devices/connect").json()["next_steps"]
        client.get(MINE)
        client.get(f"{MINE}?after=1")
        after = client.post("/devices/connect").json()["next_steps"]

        assert (before["commands_waiting"], before["command_sequence"]) == (1, 1)
        assert before["command_stream"].endswith("/devices/me/commands/stream")
        assert after["commands_waiting"] == 0

    def test_a_poll_that_finds_nothing_reads_one_row_and_writes_none(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        client = as_device(device)
        client.get(MINE)

        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(MINE).json() == {"results": []}

        said = [query["sql"] for query in queries]
        assert len(said) == 2, said  # whose token it is, and that nothing waits
        assert not any("UPDATE" in sql or "INSERT" in sql for sql in said)

    def test_after_a_restored_back_up_numbers_go_on_past_what_the_device_has_seen(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        told(device, "reload", by=operator, now=now)
        told(device, "reboot", by=operator, now=now)

        assert fetched(device, 500, now) == ["reload", "reboot"]

        sequences = CommandHistory.objects.order_by("sequence").values_list("sequence")
        assert list(sequences) == [(501,), (502,)]
        assert told(device, "restart", by=operator, now=now).sequence == 503

    def test_two_fetches_at_once_both_get_everything(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        """The answer to one of them may be lost."""
        told(device, "reload", by=operator, now=now)
        real = hot_path.unseen
        others: list[str] = []

        def unseen(*args: Any, **kwargs: Any) -> list[CommandHistory]:
            rows = real(*args, **kwargs)
            if not others:
                others.append("begun")
                others[0] = ",".join(fetched(device, 0, now))
                told(device, "reboot", by=operator, now=now)
            return rows

        with patch.object(hot_path, "unseen", side_effect=unseen):
            mine = fetched(device, 0, now)

        assert (others, mine[0]) == (["reload"], "reload")

    def test_what_was_never_there_nobody_has_seen(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        refused = as_device(device).get(f"{MINE}?after=9007199254740991")

        assert errors(refused) == (400, [("sequence_ahead", "after")])

    def test_more_than_fit_into_one_answer_come_one_answer_after_the_other(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        sessions.start(device=device, controller=operator, now=now)
        for _ in range(70):
            key = {"key": "down"}
            told(device, "keypress", parameters=key, by=operator, now=now)

        counts, after = [], 0
        while more := fetching.fetch(device=fresh(device), after=after, now=now):
            counts.append(len(more))
            after = more[-1].sequence

        assert counts == [50, 20]

    @pytest.mark.parametrize("after", ["-1", "one", "", "9" * 30])
    def test_what_is_no_number_is_refused(
        self, device: Device, as_device: Callable[..., APIClient], after: str
    ) -> None:
        refused = as_device(device).get(f"{MINE}?after={after}")

        assert refused.status_code == 400
        assert errors(refused)[1][0][1] == "after"


class TestAnswering:
    def test_a_life_with_each_of_its_times(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        reboot = told(device, "reboot", by=operator, now=now)
        later = [now + timedelta(seconds=number) for number in range(1, 5)]
        fetched(device, 0, later[0])

        answered(reboot, "delivered", later[1])
        answered(reboot, "running", later[2])
        answered(reboot, "succeeded", later[3], result={"uptime": 3})

        reboot.refresh_from_db()
        assert reboot.status == "succeeded"
        assert reboot.result == {"uptime": 3}
        times = (
            reboot.sent_at,
            reboot.delivered_at,
            reboot.started_at,
            reboot.ended_at,
        )
        assert list(times) == later
        assert NextSteps.every_tenant.get(device=device).commands_waiting == 0

    def test_what_comes_late_undoes_nothing(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        reboot = told(device, "reboot", by=operator, now=now)
        answered(reboot, "running", now)

        assert answered(reboot, "delivered", now) == "running"
        answered(reboot, "succeeded", now)
        assert answered(reboot, "running", now) == "succeeded"

    def test_the_same_answer_twice_is_one(
        self,
        device: Device,
        command: CommandHistory,
        as_device: Callable[..., APIClient],
    ) -> None:
        client, at = as_device(device), f"{MINE}/{command.pk}/answer"
        said = {"status": "failed", "reason": "No power button."}

        first, second = client.post(at, said), client.post(at, said)
        other = client.post(at, {"status": "succeeded"})

        assert (first.status_code, second.status_code) == (204, 204)
        assert errors(other) == (409, [("command_answered", None)])
        command.refresh_from_db()
        assert (command.status, command.reason) == ("failed", "No power button.")

    def test_nobody_answers_for_another_device(
        self,
        device: Device,
        command: CommandHistory,
        as_device: Callable[..., APIClient],
    ) -> None:
        client = as_device(online(device.tenant))

        refused = client.post(f"{MINE}/{command.pk}/answer", {"status": "succeeded"})

        assert errors(refused) == (404, [("command_not_found", None)])
        command.refresh_from_db()
        assert command.status == "queued"

    def test_after_the_deadline_it_is_gone(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        wake_up = told(device, "wake_up", by=operator, now=now)
        fetched(device, 0, now)

        with pytest.raises(CommandIsOver):
            answered(wake_up, "succeeded", now + timedelta(seconds=30))

    def test_what_waited_long_has_its_time_once_the_device_has_it(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        late = now + timedelta(hours=23, minutes=59)
        reboot = told(device, "reboot", by=operator, now=now)
        fetched(device, 0, late)

        answered(reboot, "running", late)

        assert answered(reboot, "succeeded", late + timedelta(minutes=4)) == "succeeded"

    def test_a_command_that_was_called_back_is_gone(
        self,
        device: Device,
        command: CommandHistory,
        as_device: Callable[..., APIClient],
        member: Callable[..., APIClient],
    ) -> None:
        member().post(f"/remote-control/commands/{command.pk}/cancel")

        refused = as_device(device).post(
            f"{MINE}/{command.pk}/answer", {"status": "running"}
        )

        assert errors(refused) == (410, [("command_over", None)])
        assert refused.json()["current"] == {"status": "cancelled"}

    @pytest.mark.parametrize(
        ("said", "field"),
        [
            ({"status": "queued"}, "status"),
            ({"status": "failed"}, "reason"),
            ({"status": "running", "result": {"a": 1}}, "result"),
            ({"status": "succeeded", "reason": "fine"}, "reason"),
            ({"status": "failed", "reason": "x" * 501}, "reason"),
            ({"status": "succeeded", "result": [1]}, "result"),
            ({"status": "succeeded", "result": {"log": "x" * 20_000}}, "result"),
            ({"status": "succeeded", "result": {"nul": "a\x00"}}, "result"),
        ],
    )
    def test_what_is_no_answer_is_refused_by_its_field(
        self,
        device: Device,
        command: CommandHistory,
        as_device: Callable[..., APIClient],
        said: dict[str, Any],
        field: str,
    ) -> None:
        refused = as_device(device).post(f"{MINE}/{command.pk}/answer", said)

        assert refused.status_code == 400
        assert field in str(errors(refused)[1][0][1])
        command.refresh_from_db()
        assert command.status == "queued"

    def test_a_gesture_is_answered_without_any_step_between(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        sessions.start(device=device, controller=operator, now=now)
        key = told(device, "keypress", parameters={"key": "up"}, by=operator, now=now)
        fetched(device, 0, now)

        answered(key, "succeeded", now)

        key.refresh_from_db()
        assert (key.status, key.delivered_at, key.ended_at) == ("succeeded", now, now)


@pytest.mark.django_db(transaction=True)
def test_an_answer_waits_for_nobody_who_holds_the_device(
    tenant: Tenant, now: datetime
) -> None:
    """Else it would, with a retirement that waits for its queue, wait for good."""
    device, by = online(tenant), person(tenant)
    reboot = told(device, "reboot", by=by, now=now)

    def answering() -> str:
        try:
            with tenant_scope(tenant.pk):
                return answered(reboot, "succeeded", now)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        hold(device.pk)
        assert pool.submit(answering).result(timeout=20) == "succeeded"
