from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from accounts.services.tokens import revoke_token
from devices.registry.models import Device, DeviceIdentifier
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from events.models import Event
from tenants.models import Role, Tenant

URL = "/devices/auto-register"
BOX = {"serial_number": "SN-1", "model": "X96", "mac_addresses": ["AA-BB-CC-DD-EE-0F"]}
Enrollment = Callable[..., tuple[Any, APIClient]]

pytestmark = pytest.mark.django_db


def test_an_unknown_box_becomes_a_device_and_gets_its_token(
    enrollment: Enrollment, tenant: Tenant
) -> None:
    _, box = enrollment()

    answer = box.post(URL, BOX)

    assert answer.status_code == 201
    body = answer.json()
    device = Device.every_tenant.get(tenant=tenant)
    assert body["device"]["id"] == str(device.pk)
    assert body["device"]["mac_addresses"] == ["aa:bb:cc:dd:ee:0f"]
    assert body["token"].startswith("dev_")
    assert body["certificate"] is None


def test_a_box_that_registers_itself_is_online(enrollment: Enrollment) -> None:
    _, box = enrollment()

    body = box.post(URL, BOX).json()

    assert body["device"]["status"] == "online"
    assert body["device"]["last_seen"] is not None


def test_the_same_hardware_again_is_the_same_device(enrollment: Enrollment) -> None:
    _, box = enrollment()
    first = box.post(URL, BOX)

    again = box.post(URL, {"mac_addresses": ["aabb.ccdd.ee0f"], "app_version": "2"})

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["device"]["id"] == first.json()["device"]["id"]
    assert again.json()["device"]["app_version"] == "2"
    assert again.json()["device"]["model"] == "X96"


def test_a_registration_again_ends_the_earlier_token(enrollment: Enrollment) -> None:
    _, box = enrollment()
    first, again = (box.post(URL, BOX).json()["token"] for _ in range(2))

    assert _me(first).status_code == 401
    assert _me(again).status_code == 200


def test_new_identifiers_of_a_known_box_are_added(enrollment: Enrollment) -> None:
    _, box = enrollment()
    box.post(URL, BOX)

    box.post(URL, {"serial_number": "SN-1", "android_id": "ABCDEF12"})

    assert box.post(URL, {"android_id": "abcdef12"}).status_code == 200
    assert Device.every_tenant.count() == 1


@pytest.mark.django_db(transaction=True)
def test_twenty_registrations_of_one_box_at_once_make_one_device(
    enrollment: Enrollment,
) -> None:
    _, box = enrollment()

    def register(_: int) -> int:
        try:
            return int(copy(box).post(URL, BOX).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(register, range(20)))

    assert sorted(statuses) == [200] * 19 + [201]
    assert Device.every_tenant.count() == 1
    assert DeviceIdentifier.every_tenant.count() == 2


def test_identifiers_of_two_devices_are_a_conflict_that_names_both(
    enrollment: Enrollment, tenant: Tenant
) -> None:
    one, other = DeviceFactory.create_batch(2, tenant=tenant)
    DeviceIdentifierFactory.create(device=one, value="SN-1")
    DeviceIdentifierFactory.create(device=other, kind="android_id", value="abc")
    _, box = enrollment()

    answer = box.post(URL, {"serial_number": "SN-1", "android_id": "abc"})

    assert answer.status_code == 409
    error = answer.json()["errors"][0]
    assert error["code"] == "identifiers_disagree"
    assert str(one.pk) in error["detail"]
    assert str(other.pk) in error["detail"]


@pytest.mark.parametrize(
    "box_says",
    [
        {},
        {"serial_number": ""},
        {"serial_number": "unknown"},
        {"android_id": "9774d56d682e549c"},
        {"mac_addresses": ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"]},
    ],
)
def test_a_box_that_nothing_identifies_is_refused(
    enrollment: Enrollment, box_says: dict[str, Any]
) -> None:
    _, box = enrollment()

    answer = box.post(URL, box_says)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "identifier_required"
    assert not Device.every_tenant.exists()


def test_two_boxes_that_share_a_placeholder_are_two_devices(
    enrollment: Enrollment,
) -> None:
    _, box = enrollment()

    for mac in ("aa:bb:cc:dd:ee:01", "aa:bb:cc:dd:ee:03"):
        box.post(URL, {"serial_number": "unknown", "mac_addresses": [mac]})

    assert Device.every_tenant.count() == 2


def test_the_same_hardware_in_two_tenants_is_two_devices(
    enrollment: Enrollment, member: Callable[..., APIClient]
) -> None:
    stranger = member(of=DeviceFactory.create().tenant)
    _, box = enrollment()

    assert box.post(URL, BOX).status_code == 201
    assert stranger.post(URL, BOX).status_code == 201


def test_a_box_claims_the_device_that_a_member_registered(
    enrollment: Enrollment, member: Callable[..., APIClient]
) -> None:
    registered = member().post("/devices", {"serial_number": "SN-1", "name": "Lobby"})
    _, box = enrollment()

    claimed = box.post(URL, BOX)

    assert claimed.status_code == 200
    assert claimed.json()["device"]["id"] == registered.json()["id"]
    assert claimed.json()["device"]["name"] == "Lobby"
    assert Event.every_tenant.named("device.claimed").count() == 1


def test_a_limited_token_brings_in_so_many_devices_and_known_ones_again(
    enrollment: Enrollment,
) -> None:
    token, box = enrollment(max_uses=1)

    assert box.post(URL, {"serial_number": "A1"}).status_code == 201
    refused = box.post(URL, {"serial_number": "A2"})

    assert refused.status_code == 403
    assert refused.json()["errors"][0]["code"] == "enrollment_token_used_up"
    assert box.post(URL, {"serial_number": "A1"}).status_code == 200
    assert Device.every_tenant.count() == 1
    token.refresh_from_db()
    assert token.uses == 1


def test_a_revoked_token_is_void_at_once(enrollment: Enrollment) -> None:
    token, box = enrollment()
    revoke_token(token, now=datetime.now(UTC))

    assert box.post(URL, BOX).status_code == 401


def test_an_expired_token_is_void(enrollment: Enrollment) -> None:
    token, box = enrollment()
    type(token).every_tenant.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert box.post(URL, BOX).status_code == 401


def test_a_member_may_register_a_box_and_a_viewer_may_not(
    member: Callable[..., APIClient],
) -> None:
    assert member(Role.OPERATOR).post(URL, BOX).status_code == 201
    assert member(Role.VIEWER).post(URL, BOX).status_code == 403


def test_an_enrollment_token_opens_no_other_door(enrollment: Enrollment) -> None:
    _, box = enrollment()

    assert box.get("/devices").status_code == 403
    assert box.get("/devices/me").status_code == 403
    assert box.post("/devices/connect", {}).status_code == 403


def test_retired_hardware_that_comes_back_is_a_new_device(
    enrollment: Enrollment, member: Callable[..., APIClient]
) -> None:
    _, box = enrollment()
    first = box.post(URL, BOX).json()["device"]["id"]
    member().delete(f"/devices/{first}")

    again = box.post(URL, BOX)

    assert again.status_code == 201
    assert again.json()["device"]["id"] != first


def _me(token: str) -> Any:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client.get("/devices/me")
