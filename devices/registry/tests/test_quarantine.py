"""Quarantine of cloned devices, and re-registration of known devices."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from certificates.models import DeviceCertificate
from certificates.tests.keys import ec_key, request_for
from devices.registry.clones import count_returns
from devices.registry.models import CloneObservation, Device, ReplacedToken, Reregistration
from devices.registry.services import clone_detection
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
    """Register two devices with the same hardware in turn. Return the last response."""
    first, second = (request_for(ec_key()) for _ in range(2))
    register(client, csr=first)
    register(client, csr=second)
    return register(client, csr=first)


@pytest.fixture
def device_client(device: Device, as_device: Callable[[Device], APIClient]) -> APIClient:
    return as_device(device)


def events(name: str) -> list[Event]:
    return list(Event.every_tenant.named(name))


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
    assert event.data["reason"] == "two keys are in use"


def test_a_key_that_returns_after_the_window_is_not_quarantined(enrollment: Enrollment) -> None:
    _, client = enrollment()
    first, second = (request_for(ec_key()) for _ in range(2))
    register(client, csr=first)
    register(client, csr=second)
    CloneObservation.every_tenant.update(at=datetime.now(UTC) - timedelta(hours=2))

    assert register(client, csr=first).json()["device"]["quarantined_at"] is None


def test_alternating_addresses_with_the_same_key_are_one_device(enrollment: Enrollment) -> None:
    _, client = enrollment()
    request = request_for(ec_key())

    for address in (ADDRESS_A, ADDRESS_B) * 3:
        response = register(client, address, csr=request)

    assert response.status_code == 200
    assert response.json()["device"]["quarantined_at"] is None
    assert DeviceCertificate.objects.active().count() == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ("8.8.8.8", "2001:4860:4860::8888"),
        ("8.8.8.8", "9.9.9.9"),
        ("8.8.8.8", "8.8.8.9", "8.8.8.10", "8.8.8.11"),
    ],
)
def test_alternating_addresses_are_no_evidence(
    enrollment: Enrollment, addresses: tuple[str, ...]
) -> None:
    _, client = enrollment()
    for address in addresses * 2:
        device_client = client_with_token(register(client, address).json()["token"])

    for address in addresses * 10:
        response = device_client.post("/devices/connect", {}, REMOTE_ADDR=address)

    assert response.json()["quarantined"] is False


def test_two_devices_that_replace_each_others_token_are_quarantined(enrollment: Enrollment) -> None:
    _, client = enrollment()
    boxes = [client_with_token(register(client).json()["token"]) for _ in range(2)]

    for turn in range(6):  # each registers again when its token is no longer valid
        if boxes[turn % 2].post("/devices/connect", {}).status_code == 401:
            response = register(client)
            if response.status_code == 403:
                break
            boxes[turn % 2] = client_with_token(response.json()["token"])
            boxes[turn % 2].post("/devices/connect", {})

    [event] = events("device.quarantined")
    assert event.data["reason"] == "replaced tokens are still in use"
    assert len(event.data["seen"]) == 2


def test_a_device_that_never_got_its_new_token_is_not_a_clone(enrollment: Enrollment) -> None:
    _, client = enrollment()
    old = client_with_token(register(client).json()["token"])

    for _ in range(4):
        register(client)  # the answer is lost
        assert old.post("/devices/connect", {}).status_code == 401

    assert not CloneObservation.every_tenant.exists()
    assert events("device.quarantined") == []


def test_a_device_that_falls_back_to_one_old_token_is_not_a_clone(enrollment: Enrollment) -> None:
    _, client = enrollment()
    old = client_with_token(register(client).json()["token"])

    for _ in range(4):  # it starts from the same image each time
        assert old.post("/devices/connect", {}).status_code in {200, 401}
        new = client_with_token(register(client).json()["token"])
        assert new.post("/devices/connect", {}).json()["quarantined"] is False


def test_two_boots_at_the_same_time_are_quarantined(device_client: APIClient) -> None:
    for boot_id in ("boot-a", "boot-b", "boot-a", "boot-b"):
        response = device_client.post("/devices/connect", {"boot_id": boot_id})

    assert response.json()["ignored"] == []
    assert device_client.post("/devices/connect", {}).json()["quarantined"] is True
    [event] = events("device.quarantined")
    assert event.data == {
        "reason": "two boots run at the same time",
        "seen": ["boot-b", "boot-a", "boot-b"],
    }


def test_a_device_that_restarts_often_is_not_quarantined(device_client: APIClient) -> None:
    for number in range(10):
        for _ in range(2):
            device_client.post("/devices/connect", {"boot_id": f"boot-{number}"})

    assert device_client.post("/devices/connect", {}).json()["quarantined"] is False


def test_two_report_counters_are_quarantined(device_client: APIClient) -> None:
    for number in range(6):
        device_client.post("/devices/connect", {"report_number": 500 + number})
        device_client.post("/devices/connect", {"report_number": 100 + number})

    assert device_client.post("/devices/connect", {}).json()["quarantined"] is True


def test_a_counter_that_starts_again_or_loses_reports_is_no_evidence(
    device_client: APIClient,
) -> None:
    for start in range(1, 8):
        for number in (start % 3, 4, 5, 5, 7, 40):
            device_client.post("/devices/connect", {"report_number": number})

    assert device_client.post("/devices/connect", {}).json()["quarantined"] is False


def test_push_connections_that_displace_each_other_are_quarantined(
    device: Device, now: datetime
) -> None:
    for second in range(20):
        clone_detection.report_replaced_connection(
            device.pk, now=now + timedelta(seconds=8 * second)
        )

    device.refresh_from_db()
    assert device.quarantined_at is not None


def test_a_device_whose_line_changes_every_minute_is_not_quarantined(
    device: Device, now: datetime
) -> None:
    for minute in range(60):
        clone_detection.report_replaced_connection(device.pk, now=now + timedelta(minutes=minute))

    device.refresh_from_db()
    assert device.quarantined_at is None


def test_a_known_boot_id_exonerates_displaced_push_connections(
    device: Device, now: datetime, device_client: APIClient
) -> None:
    device_client.post("/devices/connect", {"boot_id": "boot-a"})

    for _ in range(30):
        clone_detection.report_replaced_connection(device.pk, now=now)

    assert device_client.post("/devices/connect", {}).json()["quarantined"] is False


def test_a_quarantined_device_may_connect_and_is_refused_everything_else(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()
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


def test_releasing_a_device_deletes_its_observations(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment()
    response = register_as_clones(client).json()
    url = f"/devices/{response['device']['id']}/release"

    released = member().post(url)

    assert released.json()["quarantined_at"] is None
    assert client_with_token(response["token"]).get("/devices/me").status_code == 200
    assert not CloneObservation.every_tenant.exists()
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

    first, second = (request_for(ec_key()) for _ in range(2))
    register(client, csr=first)
    register(other_member, csr=second)

    assert register(client, csr=first).json()["device"]["quarantined_at"] is None


def test_a_window_of_zero_disables_clone_detection(enrollment: Enrollment, settings: Any) -> None:
    settings.CLONE_WINDOW_SECONDS = 0
    _, client = enrollment()

    assert register_as_clones(client).json()["device"]["quarantined_at"] is None
    assert not ReplacedToken.every_tenant.exists()
    assert not CloneObservation.every_tenant.exists()


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
