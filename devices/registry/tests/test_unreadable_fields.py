"""Fields of devices' messages that could not be used, as members see them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from devices.registry.models import Device, UnreadableField
from devices.registry.services import unreadable_fields
from devices.registry.tasks import delete_old_unreadable_fields
from devices.registry.tests.factories import DeviceFactory, UnreadableFieldFactory
from devices.registry.tests.waiting import wait_until
from tenants.models import Role

AsDevice = Callable[[Device], APIClient]
Member = Callable[..., APIClient]

pytestmark = pytest.mark.django_db
LIST = "/devices/unreadable-fields"


def test_members_see_how_many_devices_of_a_version_send_an_unreadable_field(
    device: Device, as_device: AsDevice, member: Member
) -> None:
    for sender in (device, DeviceFactory.create(tenant=device.tenant)):
        Device.every_tenant.filter(pk=sender.pk).update(app_version="2.1.0")
        client = as_device(sender)
        samples = [{"cpu_usage": 20, "battery_level": -1}] * 2
        assert client.post("/devices/metrics", {"samples": samples}).status_code == 200

    [row] = member(Role.VIEWER).get(LIST).json()["results"]

    assert (row["field"], row["app_version"], row["devices"]) == ("battery_level", "2.1.0", 2)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/devices/connect", {"app_version": 7.5, "colour": "red"}, "colour"),
        ("/devices/metrics", {"cpu_usage": 1, "battery_level": "?"}, "battery_level"),
    ],
)
def test_the_page_of_a_device_lists_its_unreadable_fields(
    device: Device, as_device: AsDevice, member: Member, path: str, body: Any, field: str
) -> None:
    as_device(device).post(path, body)

    rows = member(Role.VIEWER).get(f"/devices/{device.pk}/unreadable-fields").json()["results"]

    assert field in {row["field"] for row in rows}


def test_a_registration_with_an_unreadable_field_is_counted(
    enrollment: Callable[..., tuple[Any, APIClient]],
) -> None:
    _, client = enrollment()

    client.post("/devices/auto-register", {"serial_number": "SN-1", "screen_width": "wide"})

    assert UnreadableField.every_tenant.get().field == "screen_width"


def test_the_same_fields_are_stored_once_an_hour(device: Device, as_device: AsDevice) -> None:
    client = as_device(device)
    client.post("/devices/connect", {"colour": "red"})
    UnreadableField.every_tenant.update(last_seen_at=datetime(2026, 1, 1, tzinfo=UTC))

    client.post("/devices/connect", {"colour": "red"})

    assert UnreadableField.every_tenant.get().last_seen_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_device_that_sends_other_fields_each_time_fills_no_table(
    device: Device, as_device: AsDevice
) -> None:
    client = as_device(device)

    for number in range(40):
        fields = {f"field_{number}_{place}": 1 for place in range(10)}
        assert client.post("/devices/connect", fields).status_code == 200

    assert UnreadableField.every_tenant.count() == unreadable_fields.MAX_ROWS_OF_DEVICE


@pytest.mark.django_db(transaction=True)
def test_a_worker_deletes_fields_that_were_last_sent_a_month_ago(celery_worker: None) -> None:
    UnreadableFieldFactory.create(last_seen_at=datetime.now(UTC) - timedelta(days=31))
    recent = UnreadableFieldFactory.create(last_seen_at=datetime.now(UTC))

    delete_old_unreadable_fields.delay()

    wait_until(lambda: UnreadableField.every_tenant.count() == 1)
    assert UnreadableField.every_tenant.get() == recent
