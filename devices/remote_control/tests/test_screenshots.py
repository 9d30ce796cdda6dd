"""Screenshots: one upload per address, image validation and retention."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from rest_framework.test import APIClient

from devices.registry.models import Device, DeviceHardware
from devices.registry.services.quarantine import quarantine
from devices.remote_control.models import CommandHistory, Screenshot
from devices.remote_control.services import fetching, screen_size, screenshots
from devices.remote_control.tests.remote_control import (
    claims,
    create_member,
    errors,
    issue_command,
    online_device,
    picture,
)
from tenants.models import Role, Tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def device(acting: Tenant) -> Device:
    return online_device(acting)


@pytest.fixture
def command(device: Device) -> CommandHistory:
    by, now = create_member(device.tenant), datetime.now().astimezone()
    return issue_command(device, "screenshot", by=by, now=now)


@pytest.fixture
def upload_path(
    device: Device, command: CommandHistory, as_device: Callable[..., APIClient]
) -> str:
    """Return the path and query of the upload URL that the device received."""
    (fetched,) = as_device(device).get("/devices/me/commands").json()["results"]
    url = urlsplit(claims(fetched["signed"])["parameters"]["upload_url"])
    return f"{url.path}?{url.query}"


def upload(path: str, data: bytes) -> Any:
    client: Any = APIClient()
    return client.generic("PUT", path, data, content_type="image/png")


@pytest.mark.parametrize(
    ("format", "content_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")],
)
def test_an_upload_stores_the_screenshot_and_completes_the_command(
    device: Device,
    command: CommandHistory,
    upload_path: str,
    format: str,
    content_type: str,
    member: Callable[..., APIClient],
) -> None:
    uploaded = upload(upload_path, picture(format))

    assert uploaded.status_code == 201
    assert (uploaded.json()["width"], uploaded.json()["height"]) == (64, 36)
    command.refresh_from_db()
    assert command.status == "succeeded"
    assert command.result == {"screenshot": uploaded.json()["id"]}
    viewer = member(Role.VIEWER)
    response = viewer.get(f"/remote-control/screenshots/{uploaded.json()['id']}")
    assert response.content == picture(format)
    assert response["Content-Type"] == content_type
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]
    listed = viewer.get(f"/remote-control/{device.pk}/screenshots").json()["results"]
    assert [shot["id"] for shot in listed] == [uploaded.json()["id"]]


def test_the_device_may_answer_succeeded_after_the_upload(
    device: Device, command: CommandHistory, upload_path: str, as_device: Callable[..., APIClient]
) -> None:
    upload(upload_path, picture())

    response = as_device(device).post(
        f"/devices/me/commands/{command.pk}/answer", {"status": "succeeded"}
    )

    assert response.status_code == 204


def test_the_answer_succeeded_is_refused_without_an_upload(
    device: Device, command: CommandHistory, upload_path: str, as_device: Callable[..., APIClient]
) -> None:
    refused = as_device(device).post(
        f"/devices/me/commands/{command.pk}/answer", {"status": "succeeded"}
    )

    assert errors(refused) == (400, [("invalid_answer", None)])
    assert upload(upload_path, picture()).status_code == 201


def test_an_upload_address_accepts_one_upload(upload_path: str) -> None:
    upload(upload_path, picture())

    again = upload(upload_path, picture())

    assert errors(again) == (410, [("upload_ended", None)])
    assert again.json()["current"] == {
        "status": "succeeded"
    }  # a device that lost the first response sees that its upload succeeded
    assert Screenshot.every_tenant.count() == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<script>alert(1)</script>",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"GIF89a\x01\x00\x01\x00",
        b"\x89PNG\r\n\x1a\n<script>alert(1)</script>",
        picture()[:-70],
        b"#!/bin/sh\nreboot\n",
        picture()[:-12] + b"\x00\x00\x00\x00iCCP\x29\x95\xf2\x8e" + picture()[-12:],
    ],
    ids=[
        "empty",
        "script",
        "svg",
        "gif",
        "script in a PNG",
        "truncated",
        "shell script",
        "empty color profile",
    ],
)
def test_data_that_is_not_an_image_is_refused_whatever_its_content_type(
    command: CommandHistory, upload_path: str, data: bytes
) -> None:
    refused = upload(upload_path, data)

    assert errors(refused) == (400, [("invalid_image", None)])
    command.refresh_from_db()
    assert command.status == "sent"
    assert upload(upload_path, picture()).status_code == 201


def test_an_image_with_too_many_pixels_is_refused(upload_path: str) -> None:
    bomb = picture(size=(9000, 9000))
    assert len(bomb) < screenshots.MAX_BYTES

    assert errors(upload(upload_path, bomb)) == (400, [("invalid_image", None)])


def test_an_image_with_too_many_bytes_is_refused(upload_path: str) -> None:
    refused = upload(upload_path, picture() + b"\x00" * screenshots.MAX_BYTES)

    assert errors(refused) == (400, [("invalid_image", None)])


def test_a_device_in_quarantine_uploads_no_screenshot(device: Device, upload_path: str) -> None:
    quarantine(device=device, now=datetime.now().astimezone())

    response = upload(upload_path, picture())

    assert response.status_code == 403
    assert response.json()["errors"][0]["code"] == "device_quarantined"
    assert not Screenshot.every_tenant.exists()


def test_a_wrong_key_is_refused(command: CommandHistory, upload_path: str) -> None:
    for path in (
        upload_path[:-1],
        upload_path.partition("?")[0],
        f"{upload_path}0",
        f"{upload_path}é",
    ):
        assert errors(upload(path, picture())) == (404, [("upload_not_found", None)])


def test_an_upload_after_the_command_expired_is_refused(
    device: Device, now: datetime, acting: Tenant
) -> None:
    command = issue_command(device, "screenshot", by=create_member(acting), now=now)
    fetching.fetch(device=device, after=0, now=now)
    url = urlsplit(screenshots.upload_url(command))

    refused = upload(f"{url.path}?{url.query}", picture())

    assert errors(refused) == (410, [("upload_ended", None)])


def test_old_screenshots_are_deleted(device: Device, upload_path: str, now: datetime) -> None:
    upload(upload_path, picture())

    assert screenshots.delete_old(before=now) == 0
    assert screenshots.delete_old(before=now + timedelta(days=36_500)) == 1
    assert not Screenshot.every_tenant.exists()


class TestScreenSize:
    def test_the_size_that_the_device_reported_is_used(self, device: Device) -> None:
        assert screen_size.size_of(device) is None
        DeviceHardware.every_tenant.create(
            tenant=device.tenant, device=device, screen_width=1920, screen_height=1080
        )
        assert screen_size.size_of(device) == (1920, 1080)

    def test_the_last_screenshot_shows_that_the_screen_is_upright(
        self, device: Device, upload_path: str
    ) -> None:
        DeviceHardware.every_tenant.create(
            tenant=device.tenant, device=device, screen_width=1920, screen_height=1080
        )
        upload(upload_path, picture(size=(54, 96)))

        assert screen_size.size_of(device) == (1080, 1920)

    def test_the_size_of_the_screenshot_is_used_if_the_device_reported_none(
        self, device: Device, upload_path: str
    ) -> None:
        upload(upload_path, picture(size=(640, 360)))

        assert screen_size.size_of(device) == (640, 360)
