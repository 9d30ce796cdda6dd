from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from accounts.services.tokens import revoke_token
from devices.registry.models import ConflictingDevice, Device, DeviceIdentifier, IdentifierConflict
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from events.models import Event
from tenants.models import Role, Tenant

URL = "/devices/auto-register"
REPORT = {"serial_number": "SN-1", "model": "X96", "mac_addresses": ["A8-BB-CC-DD-EE-0F"]}
Enrollment = Callable[..., tuple[Any, APIClient]]

pytestmark = pytest.mark.django_db


def test_registering_an_unknown_device_creates_it_and_returns_its_token(
    enrollment: Enrollment, tenant: Tenant
) -> None:
    _, client = enrollment()

    response = client.post(URL, REPORT)

    assert response.status_code == 201
    body = response.json()
    device = Device.every_tenant.get(tenant=tenant)
    assert body["device"]["id"] == str(device.pk)
    assert body["device"]["mac_addresses"] == ["a8:bb:cc:dd:ee:0f"]
    assert body["token"].startswith("dev_")
    assert body["certificate"] is None


def test_a_device_that_registers_itself_is_online(enrollment: Enrollment) -> None:
    _, client = enrollment()

    body = client.post(URL, REPORT).json()

    assert body["device"]["status"] == "online"
    assert body["device"]["last_seen"] is not None


def test_the_same_hardware_is_registered_as_the_same_device_again(enrollment: Enrollment) -> None:
    _, client = enrollment()
    first = client.post(URL, REPORT)

    second = client.post(URL, {"mac_addresses": ["a8bb.ccdd.ee0f"], "app_version": "2"})

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["device"]["id"] == first.json()["device"]["id"]
    assert second.json()["device"]["app_version"] == "2"
    assert second.json()["device"]["model"] == "X96"


def test_registering_again_voids_the_previous_token(enrollment: Enrollment) -> None:
    _, client = enrollment()
    first, second = (client.post(URL, REPORT).json()["token"] for _ in range(2))

    assert _me(first).status_code == 401
    assert _me(second).status_code == 200


def test_new_identifiers_of_a_known_device_are_added(enrollment: Enrollment) -> None:
    _, client = enrollment()
    client.post(URL, REPORT)

    client.post(URL, {"serial_number": "SN-1", "android_id": "ABCDEF12"})

    assert client.post(URL, {"android_id": "abcdef12"}).status_code == 200
    assert Device.every_tenant.count() == 1


@pytest.mark.django_db(transaction=True)
def test_concurrent_registrations_of_one_device_create_one_device(enrollment: Enrollment) -> None:
    _, client = enrollment()

    def register(_: int) -> int:
        try:
            return int(copy(client).post(URL, REPORT).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(register, range(20)))

    assert sorted(statuses) == [200] * 19 + [201]
    assert Device.every_tenant.count() == 1
    assert DeviceIdentifier.every_tenant.count() == 2


def test_a_member_decides_about_identifiers_of_two_devices(
    enrollment: Enrollment, tenant: Tenant
) -> None:
    first, second = DeviceFactory.create_batch(2, tenant=tenant)
    DeviceIdentifierFactory.create(device=first, written="SN-1")
    DeviceIdentifierFactory.create(device=second, kind="android_id", written="abc")
    _, client = enrollment()

    response = client.post(URL, {"serial_number": "SN-1", "android_id": "abc"})

    assert response.status_code == 403
    assert response.json()["errors"][0]["code"] == "reregistration_pending"
    conflict = IdentifierConflict.every_tenant.get()
    assert conflict.holder == first
    assert ConflictingDevice.every_tenant.get().device == second


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"serial_number": ""},
        {"serial_number": "unknown"},
        {"android_id": "9774d56d682e549c"},
        {"mac_addresses": ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"]},
    ],
)
def test_a_report_without_a_unique_identifier_is_refused(
    enrollment: Enrollment, report: dict[str, Any]
) -> None:
    _, client = enrollment()

    response = client.post(URL, report)

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "identifier_required"
    assert not Device.every_tenant.exists()


def test_two_devices_that_share_a_placeholder_are_two_devices(enrollment: Enrollment) -> None:
    _, client = enrollment()

    for mac in ("a8:bb:cc:dd:ee:01", "a8:bb:cc:dd:ee:03"):
        client.post(URL, {"serial_number": "unknown", "mac_addresses": [mac]})

    assert Device.every_tenant.count() == 2


def test_the_same_hardware_in_two_tenants_is_two_devices(
    enrollment: Enrollment, member: Callable[..., APIClient]
) -> None:
    other_member = member(of=DeviceFactory.create().tenant)
    _, client = enrollment()

    assert client.post(URL, REPORT).status_code == 201
    assert other_member.post(URL, REPORT).status_code == 201


def test_a_device_claims_the_row_that_a_member_registered(
    enrollment: Enrollment, member: Callable[..., APIClient]
) -> None:
    created = member().post("/devices", {"serial_number": "SN-1", "name": "Lobby"})
    _, client = enrollment()

    response = client.post(URL, REPORT)

    assert response.status_code == 200
    assert response.json()["device"]["id"] == created.json()["id"]
    assert response.json()["device"]["name"] == "Lobby"
    assert Event.every_tenant.named("device.claimed").count() == 1


def test_a_token_is_limited_in_new_devices_but_not_in_reregistrations(
    enrollment: Enrollment,
) -> None:
    token, client = enrollment(max_uses=1)

    assert client.post(URL, {"serial_number": "A1"}).status_code == 201
    response = client.post(URL, {"serial_number": "A2"})

    assert response.status_code == 403
    assert response.json()["errors"][0]["code"] == "enrollment_token_used_up"
    assert client.post(URL, {"serial_number": "A1"}).status_code == 200
    assert Device.every_tenant.count() == 1
    token.refresh_from_db()
    assert token.uses == 1


def test_a_revoked_enrollment_token_is_refused(enrollment: Enrollment) -> None:
    token, client = enrollment()
    revoke_token(token, now=datetime.now(UTC))

    assert client.post(URL, REPORT).status_code == 401


def test_an_expired_enrollment_token_is_refused(enrollment: Enrollment) -> None:
    token, client = enrollment()
    type(token).every_tenant.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert client.post(URL, REPORT).status_code == 401


def test_an_operator_may_register_a_device_and_a_viewer_may_not(
    member: Callable[..., APIClient],
) -> None:
    assert member(Role.OPERATOR).post(URL, REPORT).status_code == 201
    assert member(Role.VIEWER).post(URL, REPORT).status_code == 403


def test_an_enrollment_token_is_refused_by_other_endpoints(enrollment: Enrollment) -> None:
    _, client = enrollment()

    assert client.get("/devices").status_code == 403
    assert client.get("/devices/me").status_code == 403
    assert client.post("/devices/connect", {}).status_code == 403


def test_retired_hardware_that_registers_again_is_a_new_device(
    enrollment: Enrollment, member: Callable[..., APIClient]
) -> None:
    _, client = enrollment()
    first = client.post(URL, REPORT).json()["device"]["id"]
    member().delete(f"/devices/{first}")

    second = client.post(URL, REPORT)

    assert second.status_code == 201
    assert second.json()["device"]["id"] != first


def _me(token: str) -> Any:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client.get("/devices/me")
