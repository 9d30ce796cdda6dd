"""How devices fetch and answer their commands."""

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
from devices.registry.queries import lock_device
from devices.remote_control import queries
from devices.remote_control.errors import CommandIsClosed
from devices.remote_control.models import CommandHistory
from devices.remote_control.services import fetching, sessions
from devices.remote_control.tests.remote_control import (
    create_member,
    errors,
    issue_command,
    online_device,
)
from tenants.context import tenant_scope
from tenants.models import Tenant, User

pytestmark = pytest.mark.django_db
COMMANDS = "/devices/me/commands"


@pytest.fixture
def device(acting: Tenant) -> Device:
    return online_device(acting)


@pytest.fixture
def operator(tenant: Tenant) -> User:
    return create_member(tenant)


@pytest.fixture
def command(device: Device, operator: User) -> CommandHistory:
    """A queued command, issued at the real current time."""
    return issue_command(device, "reboot", by=operator, now=datetime.now().astimezone())


def reloaded(device: Device) -> Device:
    """Reload a device together with its `NextSteps` row, as authentication does."""
    rows = Device.every_tenant.select_related("next_steps")
    return rows.get(pk=device.pk)


def fetch(device: Device, after: int, now: datetime) -> list[str]:
    rows = fetching.fetch(device=reloaded(device), after=after, now=now)
    return [row.type for row in rows]


def answer(command: CommandHistory, status: str, now: datetime, **fields: Any) -> str:
    row = fetching.answer(
        device=command.device, command_id=command.pk, status=status, now=now, **fields
    )
    return row.status


class TestFetching:
    def test_commands_are_returned_in_order(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        for type in ("reload", "reboot", "restart"):
            issue_command(device, type, by=operator, now=now)

        assert fetch(device, 0, now) == ["reload", "reboot", "restart"]

    def test_commands_are_returned_again_if_the_response_was_lost(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        reload = issue_command(device, "reload", by=operator, now=now)
        fetch(device, 0, now)

        assert fetch(device, 0, now) == ["reload"]
        reload.refresh_from_db()
        assert reload.status == "sent"

    def test_commands_that_the_device_has_seen_are_delivered_and_not_returned_again(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        reload = issue_command(device, "reload", by=operator, now=now)
        fetch(device, 0, now)
        issue_command(device, "reboot", by=operator, now=now)

        assert fetch(device, 1, now) == ["reboot"]
        reload.refresh_from_db()
        assert (reload.status, reload.delivered_at) == ("delivered", now)

    def test_expired_commands_are_not_returned(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        issue_command(device, "wake_up", by=operator, now=now)

        assert fetch(device, 0, now + timedelta(seconds=30)) == []

    def test_a_device_that_lost_its_state_gets_all_open_commands(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        issue_command(device, "reload", by=operator, now=now)
        fetch(device, 0, now)
        fetch(device, 1, now)

        assert fetch(device, 0, now) == ["reload"]

    def test_connect_returns_the_waiting_commands_and_the_stream_address(
        self, device: Device, command: CommandHistory, as_device: Callable[..., APIClient]
    ) -> None:
        client = as_device(device)

        before = client.post("/devices/connect").json()["next_steps"]
        client.get(COMMANDS)
        client.get(f"{COMMANDS}?after=1")
        after = client.post("/devices/connect").json()["next_steps"]

        assert (before["commands_waiting"], before["command_sequence"]) == (1, 1)
        assert before["command_stream"].endswith("/devices/me/commands/stream")
        assert after["commands_waiting"] == 0

    def test_a_fetch_without_commands_reads_one_row_and_writes_none(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        client = as_device(device)
        client.get(COMMANDS)

        with CaptureQueriesContext(connection) as captured:
            assert client.get(COMMANDS).json() == {"results": []}

        statements = [query["sql"] for query in captured]
        assert len(statements) == 2, statements  # authentication and the commands
        assert not any("UPDATE" in sql or "INSERT" in sql for sql in statements)

    def test_after_a_restore_numbers_continue_above_the_last_seen_number(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        issue_command(device, "reload", by=operator, now=now)
        issue_command(device, "reboot", by=operator, now=now)

        assert fetch(device, 500, now) == ["reload", "reboot"]

        sequences = CommandHistory.objects.order_by("sequence").values_list("sequence")
        assert list(sequences) == [(501,), (502,)]
        assert issue_command(device, "restart", by=operator, now=now).sequence == 503

    def test_two_concurrent_fetches_both_return_all_commands(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        """Both fetches return all commands, because one of the responses may be lost."""
        issue_command(device, "reload", by=operator, now=now)
        original = queries.open_commands
        concurrent: list[str] = []

        def open_commands(*args: Any, **kwargs: Any) -> list[CommandHistory]:
            rows = original(*args, **kwargs)
            if not concurrent:
                concurrent.append("started")
                concurrent[0] = ",".join(fetch(device, 0, now))
                issue_command(device, "reboot", by=operator, now=now)
            return rows

        with patch.object(queries, "open_commands", side_effect=open_commands):
            types = fetch(device, 0, now)

        assert (concurrent, types[0]) == (["reload"], "reload")

    def test_a_number_that_was_never_issued_is_refused(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        refused = as_device(device).get(f"{COMMANDS}?after=9007199254740991")

        assert errors(refused) == (400, [("sequence_ahead", "after")])

    def test_many_commands_are_returned_in_several_responses(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        sessions.start(device=device, controller=operator, now=now)
        for _ in range(70):
            key = {"key": "down"}
            issue_command(device, "keypress", parameters=key, by=operator, now=now)

        counts, after = [], 0
        while rows := fetching.fetch(device=reloaded(device), after=after, now=now):
            counts.append(len(rows))
            after = rows[-1].sequence

        assert counts == [50, 20]

    @pytest.mark.parametrize("after", ["-1", "one", "", "9" * 30])
    def test_an_invalid_number_is_refused(
        self, device: Device, as_device: Callable[..., APIClient], after: str
    ) -> None:
        refused = as_device(device).get(f"{COMMANDS}?after={after}")

        assert refused.status_code == 400
        assert errors(refused)[1][0][1] == "after"


class TestAnswering:
    def test_each_status_sets_its_time(self, device: Device, operator: User, now: datetime) -> None:
        reboot = issue_command(device, "reboot", by=operator, now=now)
        later = [now + timedelta(seconds=number) for number in range(1, 5)]
        fetch(device, 0, later[0])

        answer(reboot, "delivered", later[1])
        answer(reboot, "running", later[2])
        answer(reboot, "succeeded", later[3], result={"uptime": 3})

        reboot.refresh_from_db()
        assert reboot.status == "succeeded"
        assert reboot.result == {"uptime": 3}
        times = (reboot.sent_at, reboot.delivered_at, reboot.started_at, reboot.ended_at)
        assert list(times) == later
        assert NextSteps.every_tenant.get(device=device).commands_waiting == 0

    def test_answers_out_of_order_change_nothing(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        reboot = issue_command(device, "reboot", by=operator, now=now)
        answer(reboot, "running", now)

        assert answer(reboot, "delivered", now) == "running"
        answer(reboot, "succeeded", now)
        assert answer(reboot, "running", now) == "succeeded"

    def test_the_same_answer_twice_has_no_further_effect(
        self, device: Device, command: CommandHistory, as_device: Callable[..., APIClient]
    ) -> None:
        client, path = as_device(device), f"{COMMANDS}/{command.pk}/answer"
        body = {"status": "failed", "reason": "No power button."}

        first, second = client.post(path, body), client.post(path, body)
        other = client.post(path, {"status": "succeeded"})

        assert (first.status_code, second.status_code) == (204, 204)
        assert errors(other) == (409, [("command_answered", None)])
        command.refresh_from_db()
        assert (command.status, command.reason) == ("failed", "No power button.")

    def test_a_device_cannot_answer_for_another_device(
        self, device: Device, command: CommandHistory, as_device: Callable[..., APIClient]
    ) -> None:
        client = as_device(online_device(device.tenant))

        refused = client.post(f"{COMMANDS}/{command.pk}/answer", {"status": "succeeded"})

        assert errors(refused) == (404, [("command_not_found", None)])
        command.refresh_from_db()
        assert command.status == "queued"

    def test_an_answer_after_the_deadline_is_refused(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        wake_up = issue_command(device, "wake_up", by=operator, now=now)
        fetch(device, 0, now)

        with pytest.raises(CommandIsClosed):
            answer(wake_up, "succeeded", now + timedelta(seconds=30))

    def test_the_time_to_answer_counts_from_delivery(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        late = now + timedelta(hours=23, minutes=59)
        reboot = issue_command(device, "reboot", by=operator, now=now)
        fetch(device, 0, late)

        answer(reboot, "running", late)

        assert answer(reboot, "succeeded", late + timedelta(minutes=4)) == "succeeded"

    def test_an_answer_to_a_cancelled_command_is_refused(
        self,
        device: Device,
        command: CommandHistory,
        as_device: Callable[..., APIClient],
        member: Callable[..., APIClient],
    ) -> None:
        member().post(f"/remote-control/commands/{command.pk}/cancel")

        refused = as_device(device).post(f"{COMMANDS}/{command.pk}/answer", {"status": "running"})

        assert errors(refused) == (410, [("command_ended", None)])
        assert refused.json()["current"] == {"status": "cancelled"}

    @pytest.mark.parametrize("body", [{}, {"status": "queued"}, {"status": "odd"}])
    def test_an_answer_without_a_status_is_refused(
        self,
        device: Device,
        command: CommandHistory,
        as_device: Callable[..., APIClient],
        body: dict[str, Any],
    ) -> None:
        refused = as_device(device).post(f"{COMMANDS}/{command.pk}/answer", body)

        assert refused.status_code == 400
        command.refresh_from_db()
        assert command.status == "queued"

    @pytest.mark.parametrize(
        ("body", "result", "reason"),
        [
            ({"status": "failed"}, None, "The device has given no reason."),
            ({"status": "FAILED", "reason": "line\n\tline"}, None, "line line"),
            ({"status": "failed", "reason": "x" * 501}, None, "x" * 500),
            ({"status": "succeeded", "reason": "fine"}, None, ""),
            ({"status": "succeeded", "result": [1]}, None, ""),
            ({"status": "succeeded", "result": {"log": "x" * 20_000}}, None, ""),
            ({"status": "succeeded", "result": {"a": 1}, "odd": 2}, {"a": 1}, ""),
        ],
    )
    def test_a_final_status_counts_whatever_the_other_fields_contain(
        self,
        device: Device,
        command: CommandHistory,
        as_device: Callable[..., APIClient],
        body: dict[str, Any],
        result: Any,
        reason: str,
    ) -> None:
        answered = as_device(device).post(f"{COMMANDS}/{command.pk}/answer", body)

        assert answered.status_code == 204
        command.refresh_from_db()
        assert command.status == body["status"].lower()
        assert (command.result, command.reason) == (result, reason)

    def test_a_gesture_may_be_answered_without_intermediate_steps(
        self, device: Device, operator: User, now: datetime
    ) -> None:
        sessions.start(device=device, controller=operator, now=now)
        key = issue_command(device, "keypress", parameters={"key": "up"}, by=operator, now=now)
        fetch(device, 0, now)

        answer(key, "succeeded", now)

        key.refresh_from_db()
        assert (key.status, key.delivered_at, key.ended_at) == ("succeeded", now, now)


@pytest.mark.django_db(transaction=True)
def test_an_answer_does_not_wait_for_the_lock_of_the_device(tenant: Tenant, now: datetime) -> None:
    """An answer must not wait for the lock of the device.

    If it waited, it would deadlock with a retirement, because that locks the device first.
    """
    device, by = online_device(tenant), create_member(tenant)
    reboot = issue_command(device, "reboot", by=by, now=now)

    def answer_in_thread() -> str:
        try:
            with tenant_scope(tenant.pk):
                return answer(reboot, "succeeded", now)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        lock_device(device.pk)
        assert pool.submit(answer_in_thread).result(timeout=20) == "succeeded"
