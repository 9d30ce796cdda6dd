from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices.registry.api.serializers import DeviceSerializer
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from events.models import Event
from tenants.models import Role, Tenant

Member = Callable[..., APIClient]
pytestmark = pytest.mark.django_db


def test_a_device_registered_by_a_member_is_offline_and_never_seen(member: Member) -> None:
    response = member().post(
        "/devices", {"serial_number": "SN-1", "name": "Lobby", "model": "X96", "tags": ["hall"]}
    )

    assert response.status_code == 201
    body = response.json()
    assert (body["status"], body["last_seen"]) == ("offline", None)
    assert (body["serial_number"], body["tags"]) == ("SN-1", ["hall"])


def test_a_device_has_the_fields_of_the_openapi_document(member: Member, device: Device) -> None:
    shown = member().get(f"/devices/{device.pk}").json()

    assert list(shown) == list(DeviceSerializer().fields)


def test_an_identifier_of_another_device_is_a_conflict_of_its_field(
    member: Member, device: Device
) -> None:
    DeviceIdentifierFactory.create(device=device, written="SN-1")

    response = member().post("/devices", {"serial_number": "SN-1"})

    assert response.status_code == 409
    error = response.json()["errors"][0]
    assert (error["code"], error["attr"]) == ("device_already_registered", "serial_number")


def test_a_viewer_may_read_but_not_change_devices(member: Member, device: Device) -> None:
    viewer = member(Role.VIEWER)

    assert viewer.get(f"/devices/{device.pk}").status_code == 200
    assert viewer.get("/devices").status_code == 200
    assert viewer.post("/devices", {"serial_number": "SN-1"}).status_code == 403
    assert viewer.patch(f"/devices/{device.pk}", {"name": "x"}).status_code == 403
    assert viewer.delete(f"/devices/{device.pk}").status_code == 403


def test_a_device_of_another_tenant_is_not_found(member: Member) -> None:
    other_device = DeviceFactory.create()

    for method in ("get", "patch", "delete"):
        response = getattr(member(), method)(f"/devices/{other_device.pk}")
        assert response.status_code == 404, method
    assert member().post(f"/devices/{other_device.pk}/token").status_code == 404
    other_device.refresh_from_db()
    assert other_device.status == "offline"


def test_an_unknown_device_is_not_found(member: Member) -> None:
    response = member().get(f"/devices/{uuid4()}")

    assert response.status_code == 404
    assert response.json()["errors"][0]["code"] == "device_not_found"


def test_an_update_records_an_event_with_the_caller_and_the_changes(
    member: Member, device: Device
) -> None:
    response = member().patch(f"/devices/{device.pk}", {"name": "Lobby", "tags": ["b", "a", "a"]})

    assert response.json()["tags"] == ["a", "b"]
    event = Event.every_tenant.named("device.updated").get()
    assert event.changes["name"] == [device.name, "Lobby"]
    assert event.changes["tags"] == [[], ["a", "b"]]
    assert event.caller_kind == "member"
    assert event.caller_name.startswith("user-")
    assert event.address == "127.0.0.1"
    assert event.request_id == response["X-Request-ID"]


def test_an_update_without_changes_records_no_event(member: Member, device: Device) -> None:
    member().patch(f"/devices/{device.pk}", {"name": device.name, "tags": []})

    assert not Event.every_tenant.named("device.updated").exists()


def test_retiring_voids_the_devices_token_and_keeps_its_row(
    member: Member, device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    client = as_device(device)

    assert member().delete(f"/devices/{device.pk}").status_code == 204

    assert client.get("/devices/me").status_code == 401
    body = member().get(f"/devices/{device.pk}").json()
    assert body["status"] == "retired"
    assert body["retired_at"] is not None
    assert Event.every_tenant.named("device.retired").count() == 1


def test_retiring_a_retired_device_has_no_effect(member: Member, device: Device) -> None:
    for _ in range(2):
        assert member().delete(f"/devices/{device.pk}").status_code == 204

    assert Event.every_tenant.named("device.retired").count() == 1


def test_a_retired_device_cannot_be_changed(member: Member, device: Device) -> None:
    member().delete(f"/devices/{device.pk}")

    assert member().patch(f"/devices/{device.pk}", {"name": "x"}).status_code == 409
    assert member().post(f"/devices/{device.pk}/token").status_code == 409


def test_a_member_issues_a_new_device_token(
    member: Member, device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    old_client = as_device(device)

    token = member().post(f"/devices/{device.pk}/token").json()["token"]

    new_client = APIClient()
    new_client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert old_client.get("/devices/me").status_code == 401
    assert new_client.get("/devices/me").json()["id"] == str(device.pk)


def names(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [device["name"] for device in response.json()["results"]]


def test_lists_are_filtered_by_status_model_tag_and_search_text(
    member: Member, tenant: Tenant
) -> None:
    lobby = DeviceFactory.create(tenant=tenant, name="Berlin lobby", model="X96")
    hall = DeviceFactory.create(tenant=tenant, name="Hall", status="online")
    DeviceIdentifierFactory.create(device=hall, written="SN-77")
    client = member()
    client.patch(f"/devices/{lobby.pk}", {"tags": ["entrance"]})

    assert names(client.get("/devices?status=online")) == ["Hall"]
    assert names(client.get("/devices?model=X96")) == ["Berlin lobby"]
    assert names(client.get("/devices?tag=entrance")) == ["Berlin lobby"]
    assert names(client.get("/devices?search=LOBBY")) == ["Berlin lobby"]
    assert names(client.get("/devices?search=sn-7")) == ["Hall"]
    assert names(client.get("/devices?tag=nothing")) == []


def test_retired_devices_are_listed_only_with_their_status(member: Member, device: Device) -> None:
    member().delete(f"/devices/{device.pk}")

    assert names(member().get("/devices")) == []
    assert names(member().get("/devices?status=retired")) == [device.name]


@pytest.mark.parametrize("query", ["status=asleep", "search=%00", "cursor=nonsense"])
def test_an_invalid_filter_value_is_an_error(member: Member, query: str) -> None:
    response = member().get(f"/devices?{query}")

    assert response.status_code in {400, 404}
    assert response.json()["errors"]


@pytest.mark.parametrize("ordering", ["name", "-name", "registered_at", "-registered_at"])
def test_pages_list_each_device_once_in_order(
    member: Member, tenant: Tenant, ordering: str
) -> None:
    DeviceFactory.create_batch(7, tenant=tenant)  # all registered at the same time
    client, values = member(), []
    url = f"/devices?page_size=3&ordering={ordering}"

    while url:
        page = client.get(url).json()
        values += [device[ordering.lstrip("-")] for device in page["results"]]
        url = page["next"]

    assert len(values) == 7
    assert values == sorted(values, reverse=ordering.startswith("-"))


def test_the_number_of_queries_does_not_depend_on_the_page_size(
    member: Member, tenant: Tenant
) -> None:
    client = member()
    client.get("/devices")  # stores that the token was used
    counts = []
    for _ in range(2):
        for device in DeviceFactory.create_batch(5, tenant=tenant):
            DeviceIdentifierFactory.create(device=device)
        with CaptureQueriesContext(connection) as statements:
            client.get("/devices")
        counts.append(len(statements))
        assert not any("COUNT(" in row["sql"] for row in statements)

    assert counts[0] == counts[1]


def test_a_device_may_read_itself_only(
    device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    client = as_device(device)

    assert client.get("/devices/me").json()["id"] == str(device.pk)
    assert client.get("/devices").status_code == 403
    assert client.get(f"/devices/{device.pk}").status_code == 403
    assert client.post("/devices/auto-register", {"serial_number": "x"}).status_code == 403


def test_paging_ends_if_many_devices_have_the_same_name(member: Member, tenant: Tenant) -> None:
    Device.every_tenant.bulk_create(
        Device(tenant=tenant, name="Lobby", registered_at=datetime(2026, 1, 1, tzinfo=UTC))
        for _ in range(1500)
    )
    client, ids = member(), set()
    url = "/devices?page_size=400&ordering=name"

    for _ in range(6):
        page = client.get(url).json()
        ids |= {device["id"] for device in page["results"]}
        url = page["next"]
        if url is None:
            break

    assert url is None
    assert len(ids) == 1500


@pytest.mark.parametrize("ordering", ["name", "-name", "registered_at", "-registered_at"])
def test_pages_lead_forward_and_back_through_devices_with_equal_values(
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


def test_a_later_page_is_selected_by_key_without_offset_or_count(
    member: Callable[..., APIClient], tenant: Tenant
) -> None:
    DeviceFactory.create_batch(5, tenant=tenant)
    client = member()
    second = client.get("/devices?page_size=2").json()["next"]

    with CaptureQueriesContext(connection) as queries:
        client.get(second)

    sql = " ".join(query["sql"] for query in queries)
    assert "OFFSET" not in sql
    assert "COUNT(" not in sql.upper()
    assert '("devices_device"."registered_at", "devices_device"."id") <' in sql
