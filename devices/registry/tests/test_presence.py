from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices.registry import queries
from devices.registry.models import Device
from devices.registry.services import presence
from devices.registry.services.presence import ConnectReport
from devices.registry.tasks import sweep_device_status
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import wait_until
from events.models import Event
from tenants.context import tenant_scope

THRESHOLD = timedelta(minutes=5)
AsDevice = Callable[[Device], APIClient]

pytestmark = pytest.mark.django_db


def connect(device: Device, now: datetime, **fields: Any) -> dict[str, Any]:
    with tenant_scope(device.tenant_id):
        device = Device.objects.get(pk=device.pk)
        return presence.connect(device=device, report=ConnectReport(**fields), now=now)


def status_changes() -> list[Any]:
    events = Event.every_tenant.named("device.status_changed").order_by("id")
    return [event.changes["status"] for event in events]


def test_a_connect_sets_the_device_online_and_stores_its_data(
    device: Device, now: datetime
) -> None:
    connect(device, now, app_version="2.1", os_version="9", ip_address="10.0.0.7")

    device.refresh_from_db()
    assert (device.status, device.last_seen) == ("online", now)
    assert (device.app_version, device.os_version) == ("2.1", "9")
    assert device.ip_address == "10.0.0.7"


def test_going_online_is_one_event(device: Device, now: datetime) -> None:
    connect(device, now)
    connect(device, now + timedelta(minutes=1))

    assert status_changes() == [["offline", "online"]]


def test_an_unchanged_device_records_no_event(device: Device, now: datetime) -> None:
    connect(device, now, app_version="2.1")
    before = Event.every_tenant.count()

    connect(device, now + timedelta(minutes=1), app_version="2.1")

    assert Event.every_tenant.count() == before


def test_a_new_version_is_an_event_with_the_old_and_the_new_value(
    device: Device, now: datetime
) -> None:
    connect(device, now, app_version="2.1")
    connect(device, now, app_version="2.2")

    event = Event.every_tenant.named("device.updated").latest("id")
    assert event.changes == {"app_version": ["2.1", "2.2"]}


def test_a_connect_of_an_unchanged_online_device_takes_two_statements(
    device: Device, as_device: AsDevice
) -> None:
    client = as_device(device)
    for _ in range(2):  # the first goes online, the second prepares
        client.post("/devices/connect", {})

    with CaptureQueriesContext(connection) as statements:
        assert client.post("/devices/connect", {}).status_code == 200

    queries = [row["sql"].strip() for row in statements]
    assert len(queries) == 2, queries


def test_the_connect_response_has_the_next_steps(device: Device, as_device: AsDevice) -> None:
    body = as_device(device).post("/devices/connect", {"app_version": "1"}).json()

    assert body["status"] == "online"
    assert body["next_connect_in"] == 60
    assert body["next_steps"] == {
        "configuration_waiting": False,
        "settings_version": None,
        "configuration_version": None,
        "commands_waiting": 0,
        "command_sequence": 0,
        "command_stream": "http://localhost:9000/devices/me/commands/stream",
        "update_waiting": False,
        "certificate_renewal_due": False,
        "certificate_serial_number": None,
        "certificate_renewal": None,
    }


def test_the_remote_address_is_stored_if_the_device_sends_none(
    device: Device, as_device: AsDevice
) -> None:
    as_device(device).post("/devices/connect", {}, REMOTE_ADDR="203.0.113.9")

    device.refresh_from_db()
    assert device.ip_address == "203.0.113.9"


def test_a_forwarded_address_from_an_untrusted_proxy_is_ignored(
    device: Device, as_device: AsDevice
) -> None:
    as_device(device).post(
        "/devices/connect", {}, REMOTE_ADDR="203.0.113.9", HTTP_X_FORWARDED_FOR="198.51.100.1"
    )

    device.refresh_from_db()
    assert device.ip_address == "203.0.113.9"


def test_a_silent_device_goes_offline_with_one_event(now: datetime) -> None:
    device = DeviceFactory.create(status="online", last_seen=now - 2 * THRESHOLD)

    assert presence.sweep(now=now, threshold=THRESHOLD) == 1
    assert presence.sweep(now=now, threshold=THRESHOLD) == 0

    device.refresh_from_db()
    assert device.status == "offline"
    assert status_changes() == [["online", "offline"]]
    event = Event.every_tenant.get()
    assert (event.device_id, event.tenant_id) == (device.pk, device.tenant_id)


def test_a_device_exactly_at_the_threshold_is_still_online(now: datetime) -> None:
    DeviceFactory.create(status="online", last_seen=now - THRESHOLD)

    assert presence.sweep(now=now, threshold=THRESHOLD) == 0
    later = now + timedelta(microseconds=1)
    assert presence.sweep(now=later, threshold=THRESHOLD) == 1


def test_the_sweep_marks_devices_of_every_tenant_in_slices(
    now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "SWEEP_SLICE", 2)
    DeviceFactory.create_batch(5, status="online", last_seen=now - 2 * THRESHOLD)

    assert presence.sweep(now=now, threshold=THRESHOLD) == 5
    assert len(status_changes()) == 5


def test_a_sweep_that_runs_out_of_time_is_continued_by_the_next(
    now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "SWEEP_SLICE", 2)
    DeviceFactory.create_batch(5, status="online", last_seen=now - 2 * THRESHOLD)
    answers = iter((False, True))

    assert presence.sweep(now=now, threshold=THRESHOLD, time_is_up=lambda: next(answers)) == 2
    assert presence.sweep(now=now, threshold=THRESHOLD) == 3
    assert len(status_changes()) == 5


def test_the_sweep_finds_devices_in_each_range_of_the_table(
    now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_BLOCKS", 1)
    DeviceFactory.create_batch(90, status="online", last_seen=now - 2 * THRESHOLD)

    assert len(queries.device_ranges()) > 1
    assert presence.sweep(now=now, threshold=THRESHOLD) == 90


def test_the_sweep_ignores_retired_and_never_seen_devices(now: datetime) -> None:
    DeviceFactory.create(status="offline", last_seen=None)
    DeviceFactory.create(status="retired", retired_at=now, last_seen=now - 2 * THRESHOLD)

    assert presence.sweep(now=now, threshold=THRESHOLD) == 0


@pytest.mark.django_db(transaction=True)
def test_a_device_that_connects_during_the_sweep_stays_online(now: datetime) -> None:
    """The sweep skips a row that a concurrent connect has locked."""
    device = DeviceFactory.create(status="online", last_seen=now - 2 * THRESHOLD)
    other_connection = connection.copy()
    try:
        with other_connection.cursor() as cursor:
            other_connection.set_autocommit(False)
            cursor.execute(
                "UPDATE devices_device SET last_seen = %s WHERE id = %s", [now, device.pk]
            )
            assert presence.sweep(now=now, threshold=THRESHOLD) == 0
            other_connection.commit()
    finally:
        other_connection.close()

    assert presence.sweep(now=now, threshold=THRESHOLD) == 0
    device.refresh_from_db()
    assert device.status == "online"


def test_the_status_and_its_event_are_committed_together(now: datetime) -> None:
    device = DeviceFactory.create(status="online", last_seen=now - 2 * THRESHOLD)

    with pytest.raises(RuntimeError), transaction.atomic():
        presence.sweep(now=now, threshold=THRESHOLD)
        raise RuntimeError

    device.refresh_from_db()
    assert device.status == "online"
    assert status_changes() == []


def test_the_sweep_command_counts_with_dry_run_and_marks_without(capsys: Any) -> None:
    DeviceFactory.create(status="online", last_seen=datetime(2026, 1, 1, tzinfo=UTC))

    call_command("sweep_device_status", dry_run=True)
    call_command("sweep_device_status", as_json=True)

    assert capsys.readouterr().out == (
        '1 devices would go offline.\n{"offline": 1, "dry_run": false}\n'
    )


@pytest.mark.django_db(transaction=True)
def test_a_celery_worker_runs_the_sweep(celery_worker: None) -> None:
    device = DeviceFactory.create(status="online", last_seen=datetime(2026, 1, 1, tzinfo=UTC))

    sweep_device_status.delay()

    wait_until(lambda: Device.every_tenant.get(pk=device.pk).status == "offline")
    assert status_changes() == [["online", "offline"]]
