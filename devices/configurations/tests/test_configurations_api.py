"""The configuration API for members and devices."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from jsonschema import Draft202012Validator
from rest_framework.test import APIClient

from devices.configurations.documents import EMPTY_VERSION, version_of
from devices.configurations.tests.documents import (
    add_tag,
    process_rounds,
    save_for_device,
    save_for_tag,
    save_for_tenant,
)
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory, TagFactory
from tenants.models import Role, Tenant

pytestmark = pytest.mark.django_db
UNKNOWN_ID = "0190a5f4-4c2e-7b52-8c6a-3f6f0d3a9b11"
MY_CONFIGURATION = "/devices/me/configuration"


@pytest.fixture
def operator(member: Callable[..., APIClient]) -> APIClient:
    return member(Role.OPERATOR)


def errors(response: Any) -> tuple[int, list[tuple[str, str | None]]]:
    items = response.json()["errors"]
    return response.status_code, [(item["code"], item["attr"]) for item in items]


def test_the_published_schema_is_a_valid_json_schema() -> None:
    response = APIClient().get("/configurations/schema")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/schema+json"
    Draft202012Validator.check_schema(response.json())


def test_a_layer_can_be_created_read_and_changed(operator: APIClient) -> None:
    created = operator.post(
        "/configurations", {"scope": "tenant", "document": {"volume": 5}, "note": "quiet"}
    )
    assert created.status_code == 201, created.content
    url = f"/configurations/{created.json()['id']}"
    assert operator.get(url).json()["document"] == {"volume": 5}

    changed = operator.put(url, {"document": {"volume": 6}, "based_on": 1})

    assert (changed.json()["number"], changed.json()["document"]) == (2, {"volume": 6})
    [listed] = operator.get("/configurations?scope=tenant").json()["results"]
    assert listed == operator.get(url).json()
    again = operator.post("/configurations", {"scope": "tenant", "document": {}})
    assert (again.status_code, again.json()["number"]) == (200, 3)


def test_saving_an_unchanged_document_creates_no_version(operator: APIClient) -> None:
    data = {"scope": "tenant", "document": {"volume": 5}}
    responses = [operator.post("/configurations", data) for _ in range(2)]
    assert [response.status_code for response in responses] == [201, 200]
    assert responses[0].json() == responses[1].json()


def test_layers_contain_their_tag_or_device(operator: APIClient, device: Device) -> None:
    TagFactory.create(tenant=device.tenant, name="lobby")
    tagged = operator.post(
        "/configurations", {"scope": "tag", "tag": "lobby", "document": {"volume": 1}}
    ).json()
    own = operator.post(
        "/configurations", {"scope": "device", "device": str(device.pk), "document": {"volume": 2}}
    ).json()
    assert (tagged["tag"], tagged["device"], tagged["rank"]) == ("lobby", None, 1)
    assert (own["tag"], own["device"], own["rank"]) == (None, str(device.pk), None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"document": {}}, [("required", "scope")]),
        ({"scope": "galaxy", "document": {}}, [("invalid_choice", "scope")]),
        ({"scope": "platform", "document": {}}, [("invalid_choice", "scope")]),
        ({"scope": "tag", "document": {}}, [("invalid_subject", "tag")]),
        ({"scope": "tag", "tag": "x", "document": {}}, [("invalid_subject", "tag")]),
        (
            {"scope": "device", "device": UNKNOWN_ID, "document": {}},
            [("invalid_subject", "device")],
        ),
        ({"scope": "tenant"}, [("required", "document")]),
        ({"scope": "tenant", "document": []}, [("invalid", "document")]),
        (
            {"scope": "tenant", "document": {"volume": 101, "brightnes": 1}},
            [("unknown", "document.brightnes"), ("invalid", "document.volume")],
        ),
        (
            {
                "scope": "tenant",
                "document": {"schedule": [{"days": ["monday"], "on": 8, "off": "09:00"}]},
            },
            [("invalid", "document.schedule.0.on")],
        ),
        (
            {"scope": "tenant", "document": {"time_zone": "Europe/Atlantis"}},
            [("unknown", "document.time_zone")],
        ),
        (
            {"scope": "tenant", "document": {"extra": {"a": "x" * 1_000_000}}},
            [("too_large", "document")],
        ),
        ({"scope": "tenant", "document": {}, "color": 1}, [("unknown_field", "color")]),
    ],
)
def test_an_invalid_save_is_rejected_with_the_path_of_the_key(
    operator: APIClient, body: Any, expected: Any
) -> None:
    assert errors(operator.post("/configurations", body)) == (400, expected)
    assert operator.get("/configurations").json()["results"] == []


def test_a_stale_save_is_rejected_with_the_present_number(
    operator: APIClient, tenant: Tenant, now: datetime
) -> None:
    layer = save_for_tenant(tenant, {"volume": 1}, now=now)
    response = operator.put(f"/configurations/{layer.pk}", {"document": {}, "based_on": 0})
    assert errors(response) == (409, [("configuration_changed", "based_on")])
    assert response.json()["current"] == {"number": 1}


def test_versions_can_be_listed_compared_and_restored(
    operator: APIClient, tenant: Tenant, now: datetime
) -> None:
    for volume in (1, 2, 3):
        layer = save_for_tenant(tenant, {"volume": volume}, now=now)
    url = f"/configurations/{layer.pk}"
    listed = operator.get(f"{url}/versions").json()["results"]
    assert [version["number"] for version in listed] == [3, 2, 1]
    assert operator.get(f"{url}/versions/2").json()["document"] == {"volume": 2}
    assert operator.get(f"{url}/versions/9").status_code == 404
    compared = operator.get(f"{url}/differences?first=1&second=3").json()
    [difference] = compared["differences"]
    assert (difference["key"], difference["before"], difference["after"]) == ("volume", 1, 3)
    assert operator.get(f"{url}/differences?first=1").status_code == 400
    restored = operator.post(f"{url}/versions/1/restore", {"based_on": 3}).json()
    assert (restored["number"], restored["document"]) == (4, {"volume": 1})


def test_tags_can_be_reordered(operator: APIClient, tenant: Tenant, now: datetime) -> None:
    for name in ("a", "b"):
        save_for_tag(TagFactory.create(tenant=tenant, name=name), {"volume": 1}, now=now)
    assert operator.get("/configurations/order").json() == {"tags": ["a", "b"]}
    response = operator.put("/configurations/order", {"tags": ["b", "a"]})
    assert response.json() == {"tags": ["b", "a"]}
    duplicate = operator.put("/configurations/order", {"tags": ["b", "a", "b"]})
    assert errors(duplicate) == (400, [("invalid_order", "tags.2")])
    missing = operator.put("/configurations/order", {"tags": ["a", "c"]})
    assert errors(missing) == (400, [("invalid_order", "tags.1")])


def test_a_preview_lists_the_devices_that_would_change(operator: APIClient, device: Device) -> None:
    response = operator.post(
        "/configurations/preview", {"scope": "tenant", "document": {"volume": 5}}
    ).json()
    assert (response["looked_at"], response["changing"], response["keys"]) == (1, 1, {"volume": 1})
    [changing] = response["devices"]
    assert changing["device_id"] == str(device.pk)
    assert changing["changes"] == [
        {"key": "volume", "before": None, "after": 5, "was_set": False, "is_set": True}
    ]


def test_the_platforms_layer_is_read_only_in_the_api(operator: APIClient) -> None:
    response = operator.get("/configurations/platform")
    assert (response.json()["number"], response.json()["document"]) == (0, {})
    assert operator.put("/configurations/platform", {"document": {}}).status_code == 405


def test_a_devices_configuration_has_its_layers_and_sources(
    operator: APIClient, device: Device, now: datetime
) -> None:
    tag = TagFactory.create(tenant=device.tenant, name="lobby")
    add_tag(device, tag)
    save_for_tenant(device.tenant, {"volume": 1, "locale": "de"}, now=now)
    save_for_tag(tag, {"volume": 2}, now=now)
    process_rounds(now)
    result = operator.get(f"/devices/{device.pk}/configuration").json()
    assert result["configuration"] == {"volume": 2, "locale": "de"}
    assert result["version"] == version_of(result["configuration"])
    assert result["sources"]["volume"]["label"] == "Tag lobby"
    assert [layer["document"] for layer in result["layers"]] == [
        {"volume": 1, "locale": "de"},
        {"volume": 2},
    ]
    assert result["working_out"] is False
    assert [item["key"] for item in result["differences"]] == ["locale", "volume"]


def test_working_out_is_true_until_the_version_is_recalculated(
    operator: APIClient, device: Device, now: datetime
) -> None:
    save_for_tenant(device.tenant, {"volume": 1}, now=now)
    process_rounds(now)
    save_for_tenant(device.tenant, {"volume": 2}, now=now)
    result = operator.get(f"/devices/{device.pk}/configuration").json()
    assert (result["working_out"], result["configuration"]) == (True, {"volume": 2})
    assert result["version"] == version_of({"volume": 1})


def test_a_devices_configuration_has_the_state_of_the_screen(
    operator: APIClient, device: Device, now: datetime
) -> None:
    days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    always = [{"days": days, "on": "00:00", "off": "00:00"}]
    save_for_device(device, {"schedule": always, "time_zone": "Asia/Tokyo"}, now=now)
    result = operator.get(f"/devices/{device.pk}/configuration").json()
    assert result["screen"] == {"is_on": True, "until": None}


def test_a_device_fetches_its_desired_configuration(
    device: Device, as_device: Callable[..., APIClient], now: datetime
) -> None:
    save_for_device(device, {"volume": 5}, now=now)
    response = as_device(device).get(MY_CONFIGURATION)
    version = version_of({"volume": 5})
    assert response.json() == {"version": version, "configuration": {"volume": 5}}
    assert response["ETag"] == f'"{version}"'


def test_a_device_without_layers_gets_an_empty_configuration(
    device: Device, as_device: Callable[..., APIClient]
) -> None:
    response = as_device(device).get(MY_CONFIGURATION).json()
    assert response == {"version": EMPTY_VERSION, "configuration": {}}


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"old", "{}"', "*"])
def test_an_unchanged_configuration_is_a_304_with_one_query(
    device: Device, as_device: Callable[..., APIClient], now: datetime, form: str
) -> None:
    save_for_device(device, {"volume": 5}, now=now)
    client = as_device(device)
    etags = form.format(version_of({"volume": 5}))
    client.get(MY_CONFIGURATION)  # prepares the statements
    with CaptureQueriesContext(connection) as queries:
        response = client.get(MY_CONFIGURATION, HTTP_IF_NONE_MATCH=etags)
    assert (response.status_code, response.content) == (304, b"")
    assert len(queries) == 1


def test_if_match_is_ignored_when_reading(
    device: Device, as_device: Callable[..., APIClient], now: datetime
) -> None:
    save_for_device(device, {"volume": 5}, now=now)
    for path in (MY_CONFIGURATION, "/devices/me/settings"):
        response = as_device(device).get(path, HTTP_IF_MATCH='"other"')
        assert response.status_code == 200


def test_connect_announces_a_new_version_until_it_is_applied(
    device: Device, as_device: Callable[..., APIClient], now: datetime
) -> None:
    client = as_device(device)
    steps = client.post("/devices/connect", {}).json()["next_steps"]
    assert (steps["configuration_version"], steps["configuration_waiting"]) == (None, False)
    save_for_device(device, {"volume": 5}, now=now)
    steps = client.post("/devices/connect", {}).json()["next_steps"]
    version = version_of({"volume": 5})
    assert (steps["configuration_version"], steps["configuration_waiting"]) == (version, True)
    data = {"version": version, "outcome": "applied"}
    assert client.post(f"{MY_CONFIGURATION}/reported", data).status_code == 204
    steps = client.post("/devices/connect", {}).json()["next_steps"]
    assert steps["configuration_waiting"] is False


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"version": "x" * 64, "outcome": "applied"}, ("pattern", "version")),
        ({"version": "0" * 64, "outcome": "applied"}, ("unknown_version", "version")),
        ({"version": EMPTY_VERSION, "outcome": "maybe"}, ("invalid_choice", "outcome")),
    ],
)
def test_an_invalid_report_is_rejected(
    device: Device, as_device: Callable[..., APIClient], body: Any, expected: Any
) -> None:
    response = as_device(device).post(f"{MY_CONFIGURATION}/reported", body)
    assert errors(response) == (400, [expected])


def test_devices_can_be_filtered_by_drift(
    operator: APIClient, device: Device, now: datetime
) -> None:
    other = DeviceFactory.create(tenant=device.tenant)
    save_for_device(device, {"volume": 5}, now=now)
    Device.every_tenant.update(last_seen=now)
    for value, expected in (("true", device), ("false", other)):
        [result] = operator.get(f"/devices?drifted={value}").json()["results"]
        assert result["id"] == str(expected.pk)
    assert operator.get("/devices?drifted=perhaps").status_code == 400


def test_a_viewer_can_read_but_not_save(
    member: Callable[..., APIClient], tenant: Tenant, now: datetime
) -> None:
    layer = save_for_tenant(tenant, {"volume": 1}, now=now)
    viewer = member(Role.VIEWER)
    assert viewer.get(f"/configurations/{layer.pk}").status_code == 200
    response = viewer.put(f"/configurations/{layer.pk}", {"document": {}})
    assert response.status_code == 403
