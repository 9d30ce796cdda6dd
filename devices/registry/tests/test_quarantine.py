"""Quarantine of cloned devices, and re-registration of known devices."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from certificates.models import DeviceCertificate
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device, Reregistration, Sighting
from devices.registry.services.quarantine import count_returns
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from events.models import Event
from tenants.models import Role, Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
URL = "/devices/auto-register"
REPORT = {"serial_number": "SN-1", "model": "X96"}
ADDRESS_A, ADDRESS_B = "8.8.8.8", "9.9.9.9"
Enrollment = Callable[..., tuple[Any, APIClient]]
Member = Callable[..., APIClient]


def register(client: APIClient, address: str = ADDRESS_A, **fields: Any) -> Any:
    return client.post(URL, {**REPORT, **fields}, REMOTE_ADDR=address)


def client_with_token(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def register_as_clones(client: APIClient) -> Any:
    """Register the same hardware from network A, then B, then A. Return the last response."""
    register(client, ADDRESS_A)
    register(client, ADDRESS_B)
    return register(client, ADDRESS_A)


def events(name: str) -> list[Event]:
    return list(Event.every_tenant.named(name))


def test_a_device_that_returns_to_an_earlier_address_is_quarantined(enrollment: Enrollment) -> None:
    _, client = enrollment()

    response = register_as_clones(client)

    assert response.json()["device"]["quarantined_at"] is not None
    [event] = events("device.quarantined")
    assert event.data == {
        "reason": "alternates between different addresses",
        "seen": [ADDRESS_A, ADDRESS_B, ADDRESS_A],
    }


def test_a_device_that_moves_to_new_addresses_is_not_quarantined(enrollment: Enrollment) -> None:
    _, client = enrollment()

    for address in (ADDRESS_A, ADDRESS_A, ADDRESS_B, ADDRESS_B, "1.1.1.1"):
        response = register(client, address)

    assert response.json()["device"]["quarantined_at"] is None


def test_a_device_that_returns_after_the_window_is_not_quarantined(enrollment: Enrollment) -> None:
    _, client = enrollment()
    register(client, ADDRESS_A)
    register(client, ADDRESS_B)
    Sighting.every_tenant.update(at=datetime.now(UTC) - timedelta(hours=1))

    assert register(client, ADDRESS_A).json()["device"]["quarantined_at"] is None


def test_alternating_keys_are_quarantined_and_get_no_further_certificate(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()
    first, second = request_for(ec_key()), request_for(ec_key())
    register(client, csr=first)
    assert register(client, csr=second).json()["certificate"] is not None

    response = register(client, csr=first).json()

    assert response["device"]["quarantined_at"] is not None
    assert response["certificate"] is None
    assert DeviceCertificate.objects.count() == 2
    [event] = events("device.quarantined")
    assert event.data["reason"] == "alternates between different keys"


def test_alternating_addresses_with_the_same_key_are_one_device(enrollment: Enrollment) -> None:
    _, client = enrollment()
    request = request_for(ec_key())

    for address in (ADDRESS_A, ADDRESS_B) * 3:
        response = register(client, address, csr=request)

    assert response.status_code == 200
    assert response.json()["device"]["quarantined_at"] is None
    assert DeviceCertificate.objects.active().count() == 1


def test_a_device_that_connects_from_alternating_addresses_is_quarantined(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()
    device_client = client_with_token(register(client).json()["token"])

    for address in (ADDRESS_A, ADDRESS_B, ADDRESS_A, ADDRESS_B, ADDRESS_A):
        response = device_client.post("/devices/connect", {}, REMOTE_ADDR=address)

    assert response.status_code == 200
    assert device_client.post("/devices/connect", {}).json()["quarantined"] is True


def test_a_connect_from_another_address_between_registrations_is_tolerated(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()
    device_client = client_with_token(register(client, ADDRESS_A).json()["token"])
    device_client.post("/devices/connect", {}, REMOTE_ADDR=ADDRESS_B)

    assert register(client, ADDRESS_A).json()["device"]["quarantined_at"] is None


def test_private_addresses_of_proxies_do_not_count(enrollment: Enrollment) -> None:
    _, client = enrollment()
    device_client = client_with_token(register(client, "10.0.0.1").json()["token"])

    for address in ("10.0.0.1", "10.0.0.2") * 4:
        device_client.post("/devices/connect", {}, REMOTE_ADDR=address)

    assert device_client.post("/devices/connect", {}).json()["quarantined"] is False


def test_a_quarantined_device_may_connect_and_is_refused_everything_else(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()
    csr = request_for(ec_key())
    register(client, csr=csr)
    device_client = client_with_token(register_as_clones(client).json()["token"])

    connected = device_client.post("/devices/connect", {}).json()
    responses = [
        device_client.get("/devices/me"),
        device_client.get("/devices/me/certificate"),
        device_client.post("/devices/me/certificate", {"csr": request_for(ec_key())}),
        register(client),
    ]

    assert connected["quarantined"] is True
    assert set(connected["next_steps"].values()) == {None, 0}
    assert [response.status_code for response in responses] == [403] * 4
    codes = {response.json()["errors"][0]["code"] for response in responses}
    assert codes == {"device_quarantined"}


def test_releasing_a_device_deletes_its_sightings(enrollment: Enrollment, member: Member) -> None:
    _, client = enrollment()
    response = register_as_clones(client).json()
    url = f"/devices/{response['device']['id']}/release"

    released = member().post(url)

    assert released.json()["quarantined_at"] is None
    assert client_with_token(response["token"]).get("/devices/me").status_code == 200
    assert register(client, ADDRESS_B).json()["device"]["quarantined_at"] is None
    again = member().post(url)
    assert again.status_code == 409
    assert again.json()["errors"][0]["code"] == "device_not_quarantined"


def test_a_device_quarantined_by_a_member_is_listed_by_the_filter(
    device: Device, member: Member
) -> None:
    DeviceFactory.create(tenant=device.tenant)

    member().post(f"/devices/{device.pk}/quarantine", {"reason": "stolen"})

    rows = member(Role.VIEWER).get("/devices?quarantined=true").json()["results"]
    assert [row["id"] for row in rows] == [str(device.pk)]
    assert events("device.quarantined")[0].data["reason"] == "stolen"


def test_two_tenants_with_the_same_hardware_are_not_compared(
    enrollment: Enrollment, member: Member
) -> None:
    other_member = member(of=TenantFactory.create())
    _, client = enrollment()

    register(client, ADDRESS_A)
    register(other_member, ADDRESS_B)

    assert register(client, ADDRESS_A).json()["device"]["quarantined_at"] is None


def test_a_window_of_zero_disables_clone_detection(enrollment: Enrollment, settings: Any) -> None:
    settings.CLONE_WINDOW_SECONDS = 0
    _, client = enrollment()

    assert register_as_clones(client).json()["device"]["quarantined_at"] is None
    assert not Sighting.every_tenant.exists()


@pytest.mark.parametrize(
    ("values", "count"),
    [("", 0), ("A", 0), ("AAB", 0), ("ABC", 0), ("ABA", 1), ("ABAB", 2), ("ABBAA", 1)],
)
def test_a_return_is_a_change_back_to_an_earlier_value(values: str, count: int) -> None:
    assert count_returns(list(values)) == count


# --- Re-registration policies ---------------------------------------------------------


def test_a_token_may_refuse_reregistration(enrollment: Enrollment) -> None:
    _, client = enrollment(reregistration="refuse")
    first = register(client)

    again = register(client)

    assert (first.status_code, again.status_code) == (201, 403)
    assert again.json()["errors"][0]["code"] == "reregistration_refused"
    assert client_with_token(first.json()["token"]).get("/devices/me").status_code == 200


def test_a_token_may_require_a_members_permission_for_one_registration(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment(reregistration="ask")
    first = register(client).json()
    url = f"/devices/{first['device']['id']}/reregistration"

    responses = [register(client) for _ in range(3)]

    codes = [response.json()["errors"][0]["code"] for response in responses]
    assert codes == ["reregistration_pending"] * 3
    assert len(events("device.reregistration_asked")) == 1
    assert client_with_token(first["token"]).get("/devices/me").status_code == 200
    assert member().get("/devices?asking=true").json()["results"] != []

    assert member().post(url, {"allow": True}).status_code == 200
    assert register(client).status_code == 200
    assert register(client).status_code == 403, "a permission is valid for one registration"


def test_a_denial_is_valid_for_a_day(enrollment: Enrollment, member: Member) -> None:
    _, client = enrollment(reregistration="ask")
    device_id = register(client).json()["device"]["id"]
    register(client)
    member().post(f"/devices/{device_id}/reregistration", {"allow": False})

    assert register(client).json()["errors"][0]["code"] == "reregistration_refused"

    yesterday = datetime.now(UTC) - timedelta(hours=25)
    Reregistration.every_tenant.update(asked_at=yesterday, decided_at=yesterday)
    assert register(client).json()["errors"][0]["code"] == "reregistration_pending"


def test_deciding_without_a_request_is_a_conflict(device: Device, member: Member) -> None:
    response = member().post(f"/devices/{device.pk}/reregistration", {"allow": True})

    assert response.status_code == 409


def test_a_device_registered_by_hand_is_claimed_under_any_policy(
    enrollment: Enrollment, tenant: Tenant
) -> None:
    device = DeviceFactory.create(tenant=tenant)
    DeviceIdentifierFactory.create(device=device, written="SN-1")
    _, client = enrollment(reregistration="refuse")

    assert register(client).json()["device"]["id"] == str(device.pk)


def test_a_member_may_always_register_a_known_device(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment(reregistration="refuse")
    register(client)

    assert register(member()).status_code == 200
