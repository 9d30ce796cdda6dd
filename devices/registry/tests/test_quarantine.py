"""Two boxes that claim to be one device, and known boxes that come back."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from certificates.models import DeviceCertificate
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device, Reregistration, Sighting
from devices.registry.services.quarantine import returns
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from events.models import Event
from tenants.models import Role, Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
URL = "/devices/auto-register"
BOX = {"serial_number": "SN-1", "model": "X96"}
HERE, THERE = "8.8.8.8", "9.9.9.9"
Enrollment = Callable[..., tuple[Any, APIClient]]
Member = Callable[..., APIClient]


def register(client: APIClient, address: str = HERE, **more: Any) -> Any:
    return client.post(URL, {**BOX, **more}, REMOTE_ADDR=address)


def bearing(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def cloned(client: APIClient) -> Any:
    """The same hardware here, there, and here again; the last answer."""
    register(client, HERE)
    register(client, THERE)
    return register(client, HERE)


def events(name: str) -> list[Event]:
    return list(Event.every_tenant.named(name))


def test_hardware_seen_here_there_and_here_again_is_quarantined(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()

    answer = cloned(client)

    assert answer.json()["device"]["quarantined_at"] is not None
    [event] = events("device.quarantined")
    assert event.data == {
        "reason": "seen in turn with different addresses",
        "seen": [HERE, THERE, HERE],
    }


def test_a_box_that_moves_is_no_clone(enrollment: Enrollment) -> None:
    _, client = enrollment()

    for address in (HERE, HERE, THERE, THERE, "1.1.1.1"):
        answer = register(client, address)

    assert answer.json()["device"]["quarantined_at"] is None


def test_a_box_that_comes_back_hours_later_is_no_clone(enrollment: Enrollment) -> None:
    _, client = enrollment()
    register(client, HERE)
    register(client, THERE)
    Sighting.every_tenant.update(at=datetime.now(UTC) - timedelta(hours=1))

    assert register(client, HERE).json()["device"]["quarantined_at"] is None


def test_two_keys_in_turn_are_two_boxes_and_the_second_gets_no_certificate(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()
    first, second = request_for(ec_key()), request_for(ec_key())
    register(client, csr=first)
    assert register(client, csr=second).json()["certificate"] is not None

    answer = register(client, csr=first).json()

    assert answer["device"]["quarantined_at"] is not None
    assert answer["certificate"] is None
    assert DeviceCertificate.objects.count() == 2
    [event] = events("device.quarantined")
    assert event.data["reason"] == "seen in turn with different keys"


def test_a_device_that_is_heard_from_two_lines_in_turn_is_quarantined(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()
    box = bearing(register(client).json()["token"])

    for address in (HERE, THERE, HERE, THERE, HERE):
        answer = box.post("/devices/connect", {}, REMOTE_ADDR=address)

    assert answer.status_code == 200
    assert box.post("/devices/connect", {}).json()["quarantined"] is True


def test_a_second_line_between_two_registrations_makes_no_clone(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()
    box = bearing(register(client, HERE).json()["token"])
    box.post("/devices/connect", {}, REMOTE_ADDR=THERE)

    assert register(client, HERE).json()["device"]["quarantined_at"] is None


def test_unnamed_proxies_in_front_of_us_make_nobody_a_clone(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()
    box = bearing(register(client, "10.0.0.1").json()["token"])

    for address in ("10.0.0.1", "10.0.0.2") * 4:
        box.post("/devices/connect", {}, REMOTE_ADDR=address)

    assert box.post("/devices/connect", {}).json()["quarantined"] is False


def test_in_quarantine_a_device_connects_and_gets_nothing(
    enrollment: Enrollment,
) -> None:
    _, client = enrollment()
    csr = request_for(ec_key())
    register(client, csr=csr)
    box = bearing(cloned(client).json()["token"])

    connected = box.post("/devices/connect", {}).json()
    answers = [
        box.get("/devices/me"),
        box.get("/devices/me/certificate"),
        box.post("/devices/me/certificate", {"csr": request_for(ec_key())}),
        register(client),
    ]

    assert connected["quarantined"] is True
    assert set(connected["next_steps"].values()) == {None, 0}
    assert [answer.status_code for answer in answers] == [403] * 4
    codes = {answer.json()["errors"][0]["code"] for answer in answers}
    assert codes == {"device_quarantined"}


def test_a_member_releases_it_and_what_was_seen_is_forgotten(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment()
    answer = cloned(client).json()
    url = f"/devices/{answer['device']['id']}/release"

    released = member().post(url)

    assert released.json()["quarantined_at"] is None
    assert bearing(answer["token"]).get("/devices/me").status_code == 200
    assert register(client, THERE).json()["device"]["quarantined_at"] is None
    again = member().post(url)
    assert again.status_code == 409
    assert again.json()["errors"][0]["code"] == "device_not_quarantined"


def test_a_member_quarantines_a_device_by_hand_and_finds_it_by_a_filter(
    device: Device, member: Member
) -> None:
    DeviceFactory.create(tenant=device.tenant)

    member().post(f"/devices/{device.pk}/quarantine", {"reason": "stolen"})

    found = member(Role.VIEWER).get("/devices?quarantined=true").json()["results"]
    assert [row["id"] for row in found] == [str(device.pk)]
    assert events("device.quarantined")[0].data["reason"] == "stolen"


def test_two_tenants_with_the_same_hardware_are_not_compared(
    enrollment: Enrollment, member: Member
) -> None:
    stranger = member(of=TenantFactory.create())
    _, client = enrollment()

    register(client, HERE)
    register(stranger, THERE)

    assert register(client, HERE).json()["device"]["quarantined_at"] is None


def test_without_a_window_nobody_looks_for_clones(
    enrollment: Enrollment, settings: Any
) -> None:
    settings.CLONE_WINDOW_SECONDS = 0
    _, client = enrollment()

    assert cloned(client).json()["device"]["quarantined_at"] is None
    assert not Sighting.every_tenant.exists()


@pytest.mark.parametrize(
    ("seen", "count"),
    [("", 0), ("A", 0), ("AAB", 0), ("ABC", 0), ("ABA", 1), ("ABAB", 2), ("ABBAA", 1)],
)
def test_a_return_is_to_where_somebody_was_before(seen: str, count: int) -> None:
    assert returns(list(seen)) == count


# --- What a token lets a known box do -------------------------------------------------


def test_a_token_may_refuse_known_boxes(enrollment: Enrollment) -> None:
    _, client = enrollment(reregistration="refuse")
    first = register(client)

    again = register(client)

    assert (first.status_code, again.status_code) == (201, 403)
    assert again.json()["errors"][0]["code"] == "reregistration_refused"
    assert bearing(first.json()["token"]).get("/devices/me").status_code == 200


def test_a_token_may_have_the_members_asked_once(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment(reregistration="ask")
    first = register(client).json()
    url = f"/devices/{first['device']['id']}/reregistration"

    asks = [register(client) for _ in range(3)]

    codes = [answer.json()["errors"][0]["code"] for answer in asks]
    assert codes == ["reregistration_pending"] * 3
    assert len(events("device.reregistration_asked")) == 1
    assert bearing(first["token"]).get("/devices/me").status_code == 200
    assert member().get("/devices?asking=true").json()["results"] != []

    assert member().post(url, {"allow": True}).status_code == 200
    assert register(client).status_code == 200
    assert register(client).status_code == 403, "one answer lets a box in once"


def test_a_denied_box_stays_out_for_a_day_and_may_ask_again_then(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment(reregistration="ask")
    device_id = register(client).json()["device"]["id"]
    register(client)
    member().post(f"/devices/{device_id}/reregistration", {"allow": False})

    assert register(client).json()["errors"][0]["code"] == "reregistration_refused"

    yesterday = datetime.now(UTC) - timedelta(hours=25)
    Reregistration.every_tenant.update(asked_at=yesterday, decided_at=yesterday)
    assert register(client).json()["errors"][0]["code"] == "reregistration_pending"


def test_nobody_decides_for_a_box_that_does_not_ask(
    device: Device, member: Member
) -> None:
    answer = member().post(f"/devices/{device.pk}/reregistration", {"allow": True})

    assert answer.status_code == 409


def test_a_device_entered_by_hand_is_claimed_whatever_the_policy(
    enrollment: Enrollment, tenant: Tenant
) -> None:
    device = DeviceFactory.create(tenant=tenant)
    DeviceIdentifierFactory.create(device=device, value="SN-1")
    _, client = enrollment(reregistration="refuse")

    assert register(client).json()["device"]["id"] == str(device.pk)


def test_a_member_may_always_register_a_known_box(
    enrollment: Enrollment, member: Member
) -> None:
    _, client = enrollment(reregistration="refuse")
    register(client)

    assert register(member()).status_code == 200
