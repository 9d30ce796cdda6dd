from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from events.models import Event
from tenants.models import Role, Tenant

Member = Callable[..., APIClient]
pytestmark = pytest.mark.django_db


def test_a_member_registers_a_device_that_is_offline_and_unseen(member: Member) -> None:
    answer = member().post(
        "/devices",
        {"serial_number": "SN-1", "name": "Lobby", "model": "X96", "tags": ["hall"]},
    )

    assert answer.status_code == 201
    body = answer.json()
    assert (body["status"], body["last_seen"]) == ("offline", None)
    assert (body["serial_number"], body["tags"]) == ("SN-1", ["hall"])


def test_an_identifier_of_another_device_is_a_conflict_at_its_field(
    member: Member, device: Device
) -> None:
    DeviceIdentifierFactory.create(device=device, value="SN-1")

    answer = member().post("/devices", {"serial_number": "SN-1"})

    assert answer.status_code == 409
    error = answer.json()["errors"][0]
    assert (error["code"], error["attr"]) == (
        "device_already_registered",
        "serial_number",
    )


def test_a_viewer_looks_and_changes_nothing(member: Member, device: Device) -> None:
    viewer = member(Role.VIEWER)

    assert viewer.get(f"/devices/{device.pk}").status_code == 200
    assert viewer.get("/devices").status_code == 200
    assert viewer.post("/devices", {"serial_number": "SN-1"}).status_code == 403
    assert viewer.patch(f"/devices/{device.pk}", {"name": "x"}).status_code == 403
    assert viewer.delete(f"/devices/{device.pk}").status_code == 403


def test_a_strangers_device_is_not_there(member: Member) -> None:
    strangers = DeviceFactory.create()

    for method in ("get", "patch", "delete"):
        answer = getattr(member(), method)(f"/devices/{strangers.pk}")
        assert answer.status_code == 404, method
    assert member().post(f"/devices/{strangers.pk}/token").status_code == 404
    strangers.refresh_from_db()
    assert strangers.status == "offline"


def test_an_unknown_device_is_not_there(member: Member) -> None:
    answer = member().get(f"/devices/{uuid4()}")

    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == "device_not_found"


def test_a_change_is_an_event_that_says_who_and_what(
    member: Member, device: Device
) -> None:
    answer = member().patch(
        f"/devices/{device.pk}", {"name": "Lobby", "tags": ["b", "a", "a"]}
    )

    assert answer.json()["tags"] == ["a", "b"]
    event = Event.every_tenant.named("device.updated").get()
    assert event.changes["name"] == [device.name, "Lobby"]
    assert event.changes["tags"] == [[], ["a", "b"]]
    assert event.caller_kind == "member"
    assert event.caller_name.startswith("person-")
    assert event.address == "127.0.0.1"
    assert event.request_id == answer["X-Request-ID"]


def test_saying_the_same_again_is_no_event(member: Member, device: Device) -> None:
    member().patch(f"/devices/{device.pk}", {"name": device.name, "tags": []})

    assert not Event.every_tenant.named("device.updated").exists()


def test_retiring_ends_the_devices_token_and_keeps_its_record(
    member: Member, device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    box = as_device(device)

    assert member().delete(f"/devices/{device.pk}").status_code == 204

    assert box.get("/devices/me").status_code == 401
    kept = member().get(f"/devices/{device.pk}").json()
    assert kept["status"] == "retired"
    assert kept["retired_at"] is not None
    assert Event.every_tenant.named("device.retired").count() == 1


def test_retiring_twice_is_retiring_once(member: Member, device: Device) -> None:
    for _ in range(2):
        assert member().delete(f"/devices/{device.pk}").status_code == 204

    assert Event.every_tenant.named("device.retired").count() == 1


def test_a_retired_device_is_not_changed_any_more(
    member: Member, device: Device
) -> None:
    member().delete(f"/devices/{device.pk}")

    assert member().patch(f"/devices/{device.pk}", {"name": "x"}).status_code == 409
    assert member().post(f"/devices/{device.pk}/token").status_code == 409


def test_a_member_hands_a_device_a_new_token(
    member: Member, device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    before = as_device(device)

    token = member().post(f"/devices/{device.pk}/token").json()["token"]

    after = APIClient()
    after.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert before.get("/devices/me").status_code == 401
    assert after.get("/devices/me").json()["id"] == str(device.pk)


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [device["name"] for device in answer.json()["results"]]


def test_lists_are_narrowed_by_status_model_tag_and_words(
    member: Member, tenant: Tenant
) -> None:
    lobby = DeviceFactory.create(tenant=tenant, name="Berlin lobby", model="X96")
    hall = DeviceFactory.create(tenant=tenant, name="Hall", status="online")
    DeviceIdentifierFactory.create(device=hall, value="SN-77")
    client = member()
    client.patch(f"/devices/{lobby.pk}", {"tags": ["entrance"]})

    assert names(client.get("/devices?status=online")) == ["Hall"]
    assert names(client.get("/devices?model=X96")) == ["Berlin lobby"]
    assert names(client.get("/devices?tag=entrance")) == ["Berlin lobby"]
    assert names(client.get("/devices?search=LOBBY")) == ["Berlin lobby"]
    assert names(client.get("/devices?search=sn-7")) == ["Hall"]
    assert names(client.get("/devices?tag=nothing")) == []


def test_retired_devices_are_listed_only_when_asked_for(
    member: Member, device: Device
) -> None:
    member().delete(f"/devices/{device.pk}")

    assert names(member().get("/devices")) == []
    assert names(member().get("/devices?status=retired")) == [device.name]


@pytest.mark.parametrize("query", ["status=asleep", "search=%00", "cursor=nonsense"])
def test_a_filter_that_cannot_be_is_a_clear_error(member: Member, query: str) -> None:
    answer = member().get(f"/devices?{query}")

    assert answer.status_code in {400, 404}
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "ordering", ["name", "-name", "registered_at", "-registered_at"]
)
def test_pages_show_each_device_once_in_order(
    member: Member, tenant: Tenant, ordering: str
) -> None:
    DeviceFactory.create_batch(7, tenant=tenant)  # all registered in the same moment
    client, seen = member(), []
    url = f"/devices?page_size=3&ordering={ordering}"

    while url:
        page = client.get(url).json()
        seen += [device[ordering.lstrip("-")] for device in page["results"]]
        url = page["next"]

    assert len(seen) == 7
    assert seen == sorted(seen, reverse=ordering.startswith("-"))


def test_a_page_costs_the_same_however_many_devices_it_shows(
    member: Member, tenant: Tenant
) -> None:
    client = member()
    counts = []
    for _ in range(2):
        for device in DeviceFactory.create_batch(5, tenant=tenant):
            DeviceIdentifierFactory.create(device=device)
        with CaptureQueriesContext(connection) as statements:
            client.get("/devices")
        counts.append(len(statements))
        assert not any("COUNT(" in row["sql"] for row in statements)

    assert counts[0] == counts[1]


def test_a_device_sees_itself_and_no_list(
    device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    box = as_device(device)

    assert box.get("/devices/me").json()["id"] == str(device.pk)
    assert box.get("/devices").status_code == 403
    assert box.get(f"/devices/{device.pk}").status_code == 403
    assert box.post("/devices/auto-register", {"serial_number": "x"}).status_code == 403


def test_pages_end_however_many_devices_share_a_name(
    member: Member, tenant: Tenant
) -> None:
    Device.every_tenant.bulk_create(
        Device(
            tenant=tenant, name="Lobby", registered_at=datetime(2026, 1, 1, tzinfo=UTC)
        )
        for _ in range(1500)
    )
    client, seen = member(), set()
    url = "/devices?page_size=400&ordering=name"

    for _ in range(6):
        page = client.get(url).json()
        seen |= {device["id"] for device in page["results"]}
        url = page["next"]
        if url is None:
            break

    assert url is None
    assert len(seen) == 1500


@pytest.mark.parametrize(
    "ordering", ["name", "-name", "registered_at", "-registered_at"]
)
def test_pages_lead_through_every_device_and_back_even_among_equals(
    member: Callable[..., APIClient], tenant: Tenant, ordering: str
) -> None:
    DeviceFactory.create_batch(7, tenant=tenant, name="same")
    DeviceFactory.create_batch(2, tenant=tenant, name="other")
    client, pages = member(), []
    url = f"/devices?ordering={ordering}&page_size=2"

    while url:
        page = client.get(url).json()
        pages.append([row["id"] for row in page["results"]])
        url, back = page["next"], page["previous"]
    forward = [row for page in pages for row in page]
    backward = []
    while back:
        page = client.get(back).json()
        backward.append([row["id"] for row in page["results"]])
        back = page["previous"]

    assert len(forward) == len(set(forward)) == 9
    assert backward == pages[-2::-1]


def test_a_deep_page_is_found_by_its_place_and_not_by_counting(
    member: Callable[..., APIClient], tenant: Tenant
) -> None:
    DeviceFactory.create_batch(5, tenant=tenant)
    client = member()
    second = client.get("/devices?page_size=2").json()["next"]

    with CaptureQueriesContext(connection) as queries:
        client.get(second)

    asked = " ".join(query["sql"] for query in queries)
    assert "OFFSET" not in asked
    assert "COUNT(" not in asked.upper()
    assert '("devices_device"."registered_at", "devices_device"."id") <' in asked
