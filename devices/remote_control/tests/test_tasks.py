"""Remote control tasks, run by a real Celery worker."""

from datetime import datetime, timedelta

import pytest

from devices.registry.tests.waiting import wait_until
from devices.remote_control import tasks
from devices.remote_control.models import BulkCommand, CommandHistory, RemoteControlSession
from devices.remote_control.services import bulk_commands, sessions
from devices.remote_control.tests.remote_control import create_member, issue_command, online_device
from tenants.models import Tenant


@pytest.mark.usefixtures("celery_worker")
def test_a_requested_bulk_command_is_processed(acting: Tenant) -> None:
    online_device(acting)
    bulk_commands.request(
        type="reload",
        parameters={},
        filter={},
        by=create_member(acting),
        now=datetime.now().astimezone(),
    )

    wait_until(lambda: BulkCommand.objects.get().state == "finished")
    assert CommandHistory.objects.count() == 1


@pytest.mark.usefixtures("celery_worker")
def test_overdue_commands_and_idle_sessions_are_ended(acting: Tenant) -> None:
    device, by = online_device(acting), create_member(acting)
    long_ago = datetime.now().astimezone() - timedelta(hours=2)
    sessions.start(device=device, controller=by, now=long_ago)
    issue_command(device, "wake_up", by=by, now=long_ago)

    tasks.expire_commands_and_sessions.delay()

    wait_until(lambda: CommandHistory.objects.get().status == "expired")
    wait_until(lambda: RemoteControlSession.objects.get().end == "idle")


@pytest.mark.usefixtures("celery_worker")
def test_commands_past_their_retention_time_are_deleted(acting: Tenant) -> None:
    device, by = online_device(acting), create_member(acting)
    long_ago = datetime.now().astimezone() - timedelta(days=1000)
    issue_command(device, "wake_up", by=by, now=long_ago)
    CommandHistory.objects.update(status="expired", ended_at=long_ago)

    tasks.delete_expired.delay()

    wait_until(lambda: not CommandHistory.objects.exists())
