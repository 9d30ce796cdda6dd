"""Devices that report the same identifier: registration, and the decision of a member."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from devices.registry.models import Device, DeviceIdentifier, IdentifierConflict
from devices.registry.tests.test_auto_registration import URL
from events.models import Event
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db

Enrollment = Callable[..., tuple[Any, APIClient]]
Member = Callable[..., APIClient]
CONFLICTS = "/devices/conflicts"


def mac(number: int) -> str:
    return f"a8:bb:cc:dd:00:{number:02x}"


def box(number: int, **report: Any) -> dict[str, Any]:
    """Return the report of a device with a serial number, an Android ID and a MAC address."""
    own = {
        "serial_number": f"SN-{number}",
        "android_id": f"a1b2c3d4e5f6{number:04x}",
        "mac_addresses": [mac(number)],
    }
    return {**own, **report}


def registered(client: APIClient, report: dict[str, Any]) -> dict[str, Any]:
    response = client.post(URL, report)
    assert response.status_code in (200, 201), response.content
    return dict(response.json())


def token_works(token: str) -> bool:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return bool(client.get("/devices/me").status_code == 200)


@pytest.mark.django_db(transaction=True)
def test_devices_that_share_only_the_serial_number_are_all_registered(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()

    def register(number: int) -> int:
        try:
            report = box(number, serial_number="SAME-ON-EVERY-BOX")
            return int(copy(client).post(URL, report).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(register, range(20)))

    assert statuses == [201] * 20
    assert Device.every_tenant.count() == 20
    assert DeviceIdentifier.every_tenant.filter(kind="serial_number").count() == 1
    assert IdentifierConflict.every_tenant.count() == 1


def test_a_network_adapter_that_moved_stays_with_the_device_that_has_it(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()
    holder = registered(client, {"serial_number": "SN-A", "mac_addresses": [mac(1)]})

    other = registered(client, {"serial_number": "SN-B", "mac_addresses": [mac(2), mac(1)]})

    assert other["device"]["id"] != holder["device"]["id"]
    assert other["device"]["mac_addresses"] == [mac(2)]
    assert [(item["field"], item["code"]) for item in other["ignored"]] == [
        ("mac_addresses", "identifier_conflict")
    ]
    assert token_works(holder["token"])
    event = Event.every_tenant.named("device.identifier_conflict").get()
    assert str(event.device_id) == holder["device"]["id"]
    assert event.data["other_device_id"] == other["device"]["id"]


def test_a_repeated_conflict_is_recorded_once(enrollment: Enrollment) -> None:
    _, client = enrollment()
    registered(client, {"serial_number": "SN-A", "mac_addresses": [mac(1)]})

    for _ in range(3):
        registered(client, {"serial_number": "SN-B", "mac_addresses": [mac(2), mac(1)]})

    assert Event.every_tenant.named("device.identifier_conflict").count() == 1
    assert Device.every_tenant.count() == 2


def test_a_factory_reset_changes_only_the_android_id(enrollment: Enrollment) -> None:
    _, client = enrollment()
    first = registered(client, box(1))

    again = registered(client, box(1, android_id="ffee0011"))

    assert again["device"]["id"] == first["device"]["id"]
    assert again["device"]["android_id"] == "ffee0011"
    assert not IdentifierConflict.every_tenant.exists()


def test_case_and_width_of_a_serial_number_make_no_difference(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment()
    entered = member().post("/devices", {"serial_number": "abc-1"}).json()

    claimed = client.post(URL, {"serial_number": "\uff21\uff22\uff23-1"})

    assert claimed.status_code == 200
    assert claimed.json()["device"]["id"] == entered["id"]
    assert claimed.json()["device"]["serial_number"] == "abc-1"


def test_random_addresses_identify_nobody_and_are_not_kept(enrollment: Enrollment) -> None:
    _, client = enrollment()

    for number in range(40):
        answer = registered(
            client, {"serial_number": "SN-1", "mac_addresses": [f"02:99:00:00:00:{number:02x}"]}
        )

    assert Device.every_tenant.count() == 1
    assert answer["device"]["mac_addresses"] == []
    assert [item["code"] for item in answer["ignored"]] == ["locally_administered"]


def test_a_device_does_not_collect_serial_numbers(enrollment: Enrollment) -> None:
    _, client = enrollment()
    registered(client, {"android_id": "a1b2c3d4", "serial_number": "SN-0"})

    statuses = {
        client.post(URL, {"android_id": "a1b2c3d4", "serial_number": f"SN-{number}"}).status_code
        for number in range(1, 5)
    }

    assert statuses == {403}
    assert DeviceIdentifier.every_tenant.filter(kind="serial_number").count() == 1


@pytest.mark.parametrize("serial", ["1", "?", "12345678", "AMLOGIC", "ffffffffffffffff"])
def test_a_placeholder_beside_a_good_value_is_named_and_not_kept(
    enrollment: Enrollment, serial: str
) -> None:
    _, client = enrollment()

    answer = registered(
        client,
        {"serial_number": serial, "android_id": "a1b2c3d4", "mac_addresses": ["00:11:22:33:44:55"]},
    )

    assert answer["device"]["serial_number"] is None
    assert {item["field"] for item in answer["ignored"]} == {"serial_number", "mac_addresses"}


def test_a_malformed_identifier_beside_a_good_one_is_named_and_not_kept(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()

    answer = client.post(
        URL,
        {"serial_number": "SN-1", "android_id": "unknown", "mac_addresses": [mac(1), "?", mac(2)]},
    )

    assert answer.status_code == 201
    assert answer.json()["device"]["mac_addresses"] == [mac(1), mac(2)]
    assert {item["field"] for item in answer.json()["ignored"]} == {"android_id", "mac_addresses"}


def test_after_the_decision_for_different_devices_the_waiting_one_is_registered(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment()
    registered(client, {"serial_number": "SN-1", "android_id": "a1b2c3d4"})
    newcomer = {"serial_number": "SN-1", "android_id": "b1b2c3d4"}

    waiting = client.post(URL, newcomer)
    (conflict,) = member().get(CONFLICTS).json()["results"]
    decided = member().post(f"{CONFLICTS}/{conflict['id']}/decision", {"decision": "different"})
    answer = client.post(URL, newcomer)

    assert waiting.status_code == 403
    assert waiting.json()["errors"][0]["code"] == "reregistration_pending"
    assert conflict["waiting"] == ["android_id:b1b2c3d4", "serial_number:sn-1"]
    assert decided.json()["decision"] == "different"
    assert answer.status_code == 201
    assert [item["code"] for item in answer.json()["ignored"]] == ["shared"]
    assert client.post(URL, {**newcomer, "android_id": "c1b2c3d4"}).status_code == 201


def test_after_the_decision_for_the_same_device_the_waiting_one_takes_the_record_over(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment(reregistration="ask")
    first = registered(client, {"serial_number": "SN-1", "android_id": "a1b2c3d4"})
    newcomer = {"serial_number": "SN-1", "android_id": "b1b2c3d4"}
    assert client.post(URL, newcomer).status_code == 403

    (conflict,) = member().get(CONFLICTS).json()["results"]
    member().post(f"{CONFLICTS}/{conflict['id']}/decision", {"decision": "same"})
    answer = client.post(URL, newcomer)

    assert answer.status_code == 200
    assert answer.json()["device"]["id"] == first["device"]["id"]
    assert answer.json()["device"]["android_id"] == "b1b2c3d4"


def test_two_records_of_one_device_are_merged_and_its_token_still_works(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment()
    old = registered(client, {"serial_number": "SN-A", "mac_addresses": [mac(1)]})
    new_report = {"serial_number": "SN-B", "mac_addresses": [mac(2), mac(1)]}
    new = registered(client, new_report)

    (conflict,) = member().get(CONFLICTS).json()["results"]
    member().post(f"{CONFLICTS}/{conflict['id']}/decision", {"decision": "same"})

    assert token_works(new["token"])
    assert not token_works(old["token"])
    assert Device.every_tenant.not_retired().count() == 1
    again = registered(client, new_report)
    assert again["device"]["id"] == old["device"]["id"]
    assert again["device"]["serial_number"] == "SN-B"
    assert again["device"]["mac_addresses"] == [mac(1), mac(2)]


def test_three_devices_with_one_value_cannot_be_the_same_device(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment()
    for number in range(3):
        registered(client, box(number, serial_number="SAME-ON-EVERY-BOX"))

    (conflict,) = member().get(CONFLICTS).json()["results"]
    answer = member().post(f"{CONFLICTS}/{conflict['id']}/decision", {"decision": "same"})

    assert answer.status_code == 409
    assert Device.every_tenant.not_retired().count() == 3


def test_a_conflict_is_decided_once_and_not_by_viewers(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment()
    for number in range(2):
        registered(client, box(number, serial_number="SAME-ON-EVERY-BOX"))
    (conflict,) = member(Role.VIEWER).get(CONFLICTS).json()["results"]
    url, body = f"{CONFLICTS}/{conflict['id']}/decision", {"decision": "different"}

    assert member(Role.VIEWER).post(url, body).status_code == 403
    assert member().post(url, body).status_code == 200
    assert member().post(url, body).status_code == 409
    assert Event.every_tenant.named("device.identifier_conflict_decided").count() == 1


def test_a_member_enters_a_device_with_a_serial_number_that_another_one_has(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment()
    registered(client, box(1, serial_number="SN-1"))

    only_the_serial_number = member().post("/devices", {"serial_number": "SN-1"})
    another_device = member().post("/devices", box(2, serial_number="SN-1"))

    assert only_the_serial_number.status_code == 409
    assert another_device.status_code == 201, another_device.json()
    assert another_device.json()["serial_number"] is None
    assert IdentifierConflict.every_tenant.get().value == "sn-1"


def test_a_member_may_not_enter_a_placeholder(member: Member) -> None:
    answer = member().post("/devices", {"serial_number": "unknown", "android_id": "a1b2c3d4"})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == "serial_number"


def test_a_member_decides_a_conflict_in_the_portal(enrollment: Enrollment, tenant: Tenant) -> None:
    _, client = enrollment()
    registered(client, {"serial_number": "SN-1", "android_id": "a1b2c3d4"})
    client.post(URL, {"serial_number": "SN-1", "android_id": "b1b2c3d4"})
    conflict = IdentifierConflict.every_tenant.get()
    portal = Client()
    portal.force_login(MembershipFactory.create(tenant=tenant, role=Role.OPERATOR).user)
    pages = f"/t/{tenant.slug}/admin/devices/identifierconflict/"

    page = portal.get(f"{pages}{conflict.pk}/change/").content.decode()
    question = portal.get(f"{pages}{conflict.pk}/different/", follow=True).content.decode()
    portal.post(
        pages,
        {"action": "decide_different", "_selected_action": [str(conflict.pk)], "confirmed": "1"},
    )

    assert "b1b2c3d4" in page
    assert "_save" not in page
    assert "identifies no device" in question
    conflict.refresh_from_db()
    assert conflict.decision == "different"
