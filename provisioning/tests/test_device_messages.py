"""Each endpoint of devices uses a message as far as possible (see `core.rest.tolerant`)."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from rest_framework.test import APIClient

from devices.configurations.models import ReportedConfiguration
from devices.configurations.tests.documents import next_steps_of, save_for_device
from devices.registry.models import Device
from devices.remote_control.models import CommandHistory
from devices.remote_control.tests.remote_control import create_member, issue_command

pytestmark = pytest.mark.django_db
AsDevice = Callable[[Device], APIClient]


# `test_fast_path` sends these messages too.
MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"odd": 1}, ""),
    ({"app_version": None}, ""),
    ({"app_version": "x" * 65}, "x" * 64),
    ({"app_version": "Android 9\n"}, "Android 9"),
    ({"app_version": 9}, "9"),
    ({"ip_address": ""}, ""),
    ({"ip_address": "not an address"}, ""),
]
FAULTY_ENCODINGS = [
    b'\xef\xbb\xbf{"app_version": "2.1"}',
    b'{"app_version": "2.1", "os_version": "\\ud800"}',
    b'{"app_version": "2.1", "os_version": "\xff"}',
    b'{"app_version": "2.1", "os_version": NaN}',
    b'{"app_version": "2.1",\n\t"os_version": "9\nand\ta tab"}',
]


@pytest.mark.parametrize(("body", "stored"), MESSAGES)
def test_a_connect_counts_whatever_its_fields_contain(
    as_device: AsDevice, device: Device, body: Any, stored: str
) -> None:
    response = as_device(device).post("/devices/connect", body, format="json")

    assert response.status_code == 200
    assert [item["field"] for item in response.json()["ignored"]] == list(body)
    device.refresh_from_db()
    assert (device.status, device.app_version) == ("online", stored)


@pytest.mark.parametrize("body", FAULTY_ENCODINGS)
def test_a_message_with_a_fault_in_its_encoding_is_read(
    as_device: AsDevice, device: Device, body: Any
) -> None:
    response = as_device(device).generic("POST", "/devices/connect", body, "application/json")

    assert response.status_code == 200
    device.refresh_from_db()
    assert device.app_version == "2.1"


def test_a_message_that_is_no_object_is_refused(as_device: AsDevice, device: Device) -> None:
    response = as_device(device).post("/devices/connect", [1], format="json")

    assert response.status_code == 400


def test_a_pairing_is_started_with_the_usable_fields(client: Any) -> None:
    body = {"serial_number": 123456123, "model": "X96\n", "android_id": "unknown", "odd": 1}

    response = client.post("/devices/pair", body, content_type="application/json")

    assert response.status_code == 200
    fields = {item["field"] for item in response.json()["ignored"]}
    assert fields == {"serial_number", "model", "android_id", "odd"}


def test_a_failed_configuration_counts_with_any_reason(as_device: AsDevice, device: Device) -> None:
    save_for_device(device, {"volume": 5}, now=datetime.now(UTC))
    version = next_steps_of(device).configuration_version
    body = {
        "version": version,
        "outcome": "FAILED",
        "reason": "first line\nsecond line",
        "failed_keys": ["no such key", 5],
    }

    response = as_device(device).post("/devices/me/configuration/reported", body, format="json")

    assert response.status_code == 204
    row = ReportedConfiguration.every_tenant.get()
    assert (row.outcome, row.reason) == ("failed", "first line second line")


def test_a_failed_command_counts_with_a_stack_trace_as_its_reason(
    as_device: AsDevice, device: Device
) -> None:
    now = datetime.now(UTC)
    command = issue_command(device, "reload", by=create_member(device.tenant), now=now)
    trace = "java.lang.IllegalStateException: no surface\n\tat com.example.Player.play\n" * 40

    response = as_device(device).post(
        f"/devices/me/commands/{command.pk}/answer",
        {"status": "failed", "reason": trace, "result": {"a": "\x00"}, "odd": 1},
        format="json",
    )

    assert response.status_code == 204
    command = CommandHistory.every_tenant.get(pk=command.pk)
    assert command.status == "failed"
    assert command.reason.startswith("java.lang.IllegalStateException: no surface at")


def test_an_empty_version_at_connect_keeps_the_known_one(
    as_device: AsDevice, device: Device
) -> None:
    Device.every_tenant.filter(pk=device.pk).update(app_version="2.1")

    as_device(device).post("/devices/connect", {"app_version": "", "os_version": "  "})

    device.refresh_from_db()
    assert (device.app_version, device.status) == ("2.1", "online")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_message_counts_whatever_its_content_type_and_accept_say(
    as_device: AsDevice, device: Device, now: datetime, content_type: str
) -> None:
    command = issue_command(
        device, "reload", by=create_member(device.tenant), now=datetime.now(UTC)
    )
    client = as_device(device)
    headers: Any = {"HTTP_ACCEPT": "text/plain"}

    answered = client.generic(
        "POST",
        f"/devices/me/commands/{command.pk}/answer",
        '{"status": "delivered"}',
        content_type,
        **headers,
    )
    pairing = APIClient().generic(
        "POST", "/devices/pair", '{"serial_number": "SN-1"}', content_type, **headers
    )
    assert (answered.status_code, pairing.status_code) == (204, 200)


def test_a_lone_surrogate_in_a_key_is_named_without_an_error(
    as_device: AsDevice, device: Device
) -> None:
    body = r'{"settings": {"\ud800": {"version": 0, "value": 1}}}'

    response = as_device(device).generic("PATCH", "/devices/me/settings", body, "application/json")

    assert response.status_code in (200, 400), response.content
    assert response.json()


def test_a_repeated_failure_of_a_command_may_have_another_stack_trace(
    as_device: AsDevice, device: Device
) -> None:
    command = issue_command(
        device, "reload", by=create_member(device.tenant), now=datetime.now(UTC)
    )
    client, path = as_device(device), f"/devices/me/commands/{command.pk}/answer"

    for line in (1, 2):
        response = client.post(path, {"status": "failed", "reason": f"at line {line}"})
        assert response.status_code == 204

    command.refresh_from_db()
    assert command.reason == "at line 1"
