"""Pictures of a screen: put once where the device was told to, looked into, kept a while."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from rest_framework.test import APIClient

from devices.registry.models import Device, DeviceHardware
from devices.remote_control.models import CommandHistory, Screenshot
from devices.remote_control.services import fetching, screen_size, screenshots
from devices.remote_control.tests.remote_control import (
    claims,
    errors,
    online,
    person,
    picture,
    told,
)
from tenants.models import Role, Tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def device(acting: Tenant) -> Device:
    return online(acting)


@pytest.fixture
def command(device: Device) -> CommandHistory:
    by, now = person(device.tenant), datetime.now().astimezone()
    return told(device, "screenshot", by=by, now=now)


@pytest.fixture
def place(
    device: Device, command: CommandHistory, as_device: Callable[..., APIClient]
) -> str:
    """Where the device was told to put the picture."""
    (fetched,) = as_device(device).get("/devices/me/commands").json()["results"]
    url = urlsplit(claims(fetched["signed"])["parameters"]["upload_url"])
    return f"{url.path}?{url.query}"


def put(place: str, data: bytes, kind: str = "image/png") -> Any:
    client: Any = APIClient()
    return client.generic("PUT", place, data, content_type=kind)


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")],
)
def test_a_picture_is_kept_and_the_command_has_succeeded(
    device: Device,
    command: CommandHistory,
    place: str,
    kind: str,
    content_type: str,
    member: Callable[..., APIClient],
) -> None:
    kept = put(place, picture(kind))

    assert kept.status_code == 201
    assert (kept.json()["width"], kept.json()["height"]) == (64, 36)
    command.refresh_from_db()
    assert command.status == "succeeded"
    assert command.result == {"screenshot": kept.json()["id"]}
    viewer = member(Role.VIEWER)
    shown = viewer.get(f"/remote-control/screenshots/{kept.json()['id']}")
    assert shown.content == picture(kind)
    assert shown["Content-Type"] == content_type
    assert shown["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in shown["Content-Security-Policy"]
    listed = viewer.get(f"/remote-control/{device.pk}/screenshots").json()["results"]
    assert [shot["id"] for shot in listed] == [kept.json()["id"]]


def test_the_device_may_say_afterwards_what_is_so_already(
    device: Device,
    command: CommandHistory,
    place: str,
    as_device: Callable[..., APIClient],
) -> None:
    put(place, picture())

    said = as_device(device).post(
        f"/devices/me/commands/{command.pk}/answer", {"status": "succeeded"}
    )

    assert said.status_code == 204


def test_without_a_picture_it_has_not_succeeded(
    device: Device,
    command: CommandHistory,
    place: str,
    as_device: Callable[..., APIClient],
) -> None:
    refused = as_device(device).post(
        f"/devices/me/commands/{command.pk}/answer", {"status": "succeeded"}
    )

    assert errors(refused) == (400, [("invalid_answer", None)])
    assert put(place, picture()).status_code == 201


def test_the_address_is_good_once(place: str) -> None:
    put(place, picture())

    again = put(place, picture())

    assert errors(again) == (410, [("upload_over", None)])
    assert again.json()["current"] == {"status": "succeeded"}  # whoever was not heard
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
        *("nothing", "script", "svg", "gif", "script in a PNG", "cut off", "shell"),
        "an empty profile",
    ],
)
def test_what_is_no_picture_is_refused_whatever_it_says_that_it_is(
    command: CommandHistory, place: str, data: bytes
) -> None:
    refused = put(place, data)

    assert errors(refused) == (400, [("invalid_picture", None)])
    command.refresh_from_db()
    assert command.status == "sent"
    assert put(place, picture()).status_code == 201


def test_a_picture_that_would_fill_the_memory_is_not_opened(place: str) -> None:
    bomb = picture(size=(9000, 9000))
    assert len(bomb) < screenshots.MOST_BYTES

    assert errors(put(place, bomb)) == (400, [("invalid_picture", None)])


def test_too_much_is_refused(place: str) -> None:
    refused = put(place, picture() + b"\x00" * screenshots.MOST_BYTES)

    assert errors(refused) == (400, [("invalid_picture", None)])


def test_with_another_key_nobody_expects_anything(
    command: CommandHistory, place: str
) -> None:
    for wrong in (place[:-1], place.partition("?")[0], f"{place}0", f"{place}é"):
        assert errors(put(wrong, picture())) == (404, [("upload_not_found", None)])


def test_when_the_time_is_over_it_is_gone(
    device: Device, now: datetime, acting: Tenant
) -> None:
    command = told(device, "screenshot", by=person(acting), now=now)
    fetching.fetch(device=device, after=0, now=now)
    url = urlsplit(screenshots.upload_url(command))

    refused = put(f"{url.path}?{url.query}", picture())

    assert errors(refused) == (410, [("upload_over", None)])


def test_what_has_outlived_its_time_is_dropped(
    device: Device, place: str, now: datetime
) -> None:
    put(place, picture())

    assert screenshots.drop_outlived(before=now) == 0
    assert screenshots.drop_outlived(before=now + timedelta(days=36_500)) == 1
    assert not Screenshot.every_tenant.exists()


class TestHowLargeTheScreenIs:
    def test_as_the_box_has_said(self, device: Device) -> None:
        assert screen_size.size_of(device) is None
        DeviceHardware.every_tenant.create(
            tenant=device.tenant, device=device, screen_width=1920, screen_height=1080
        )
        assert screen_size.size_of(device) == (1920, 1080)

    def test_upright_when_its_last_picture_is(self, device: Device, place: str) -> None:
        DeviceHardware.every_tenant.create(
            tenant=device.tenant, device=device, screen_width=1920, screen_height=1080
        )
        put(place, picture(size=(54, 96)))

        assert screen_size.size_of(device) == (1080, 1920)

    def test_as_large_as_its_picture_where_the_box_says_nothing(
        self, device: Device, place: str
    ) -> None:
        put(place, picture(size=(640, 360)))

        assert screen_size.size_of(device) == (640, 360)
