"""Configurations as members and devices meet them over HTTP."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from jsonschema import Draft202012Validator
from rest_framework.test import APIClient

from devices.configurations.documents import NOTHING, version_of
from devices.configurations.tests.documents import (
    for_device,
    for_tag,
    for_tenant,
    wear,
    work_all,
)
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory, TagFactory
from tenants.models import Role, Tenant

pytestmark = pytest.mark.django_db
NOBODY = "0190a5f4-4c2e-7b52-8c6a-3f6f0d3a9b11"
MINE = "/devices/me/configuration"


@pytest.fixture
def operator(member: Callable[..., APIClient]) -> APIClient:
    return member(Role.OPERATOR)


def errors(answer: Any) -> tuple[int, list[tuple[str, str | None]]]:
    said = answer.json()["errors"]
    return answer.status_code, [(one["code"], one["attr"]) for one in said]


def test_the_schema_is_public_and_is_one() -> None:
    answer = APIClient().get("/configurations/schema")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/schema+json"
    Draft202012Validator.check_schema(answer.json())


def test_a_layer_is_saved_looked_at_and_changed(operator: APIClient) -> None:
    made = operator.post(
        "/configurations",
        {"scope": "tenant", "document": {"volume": 5}, "note": "quiet"},
    )
    assert made.status_code == 201, made.content
    where = f"/configurations/{made.json()['id']}"
    assert operator.get(where).json()["document"] == {"volume": 5}

    changed = operator.put(where, {"document": {"volume": 6}, "based_on": 1})

    assert (changed.json()["number"], changed.json()["document"]) == (2, {"volume": 6})
    [listed] = operator.get("/configurations?scope=tenant").json()["results"]
    assert listed == operator.get(where).json()
    again = operator.post("/configurations", {"scope": "tenant", "document": {}})
    assert (again.status_code, again.json()["number"]) == (200, 3)


def test_the_same_document_again_is_not_made_again(operator: APIClient) -> None:
    said = {"scope": "tenant", "document": {"volume": 5}}
    answers = [operator.post("/configurations", said) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()


def test_layers_of_a_tag_and_of_a_device_name_them(
    operator: APIClient, device: Device
) -> None:
    TagFactory.create(tenant=device.tenant, name="lobby")
    tagged = operator.post(
        "/configurations", {"scope": "tag", "tag": "lobby", "document": {"volume": 1}}
    ).json()
    own = operator.post(
        "/configurations",
        {"scope": "device", "device": str(device.pk), "document": {"volume": 2}},
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
            {"scope": "device", "device": NOBODY, "document": {}},
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
                "document": {
                    "schedule": [{"days": ["monday"], "on": 8, "off": "09:00"}]
                },
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
def test_what_cannot_be_saved_is_refused_with_the_path_of_the_key(
    operator: APIClient, body: Any, expected: Any
) -> None:
    assert errors(operator.post("/configurations", body)) == (400, expected)
    assert operator.get("/configurations").json()["results"] == []


def test_a_stale_save_is_told_the_present_number(
    operator: APIClient, tenant: Tenant, now: datetime
) -> None:
    layer = for_tenant(tenant, {"volume": 1}, now=now)
    answer = operator.put(
        f"/configurations/{layer.pk}", {"document": {}, "based_on": 0}
    )
    assert errors(answer) == (409, [("configuration_changed", "based_on")])
    assert answer.json()["current"] == {"number": 1}


def test_versions_are_listed_compared_and_restored(
    operator: APIClient, tenant: Tenant, now: datetime
) -> None:
    for volume in (1, 2, 3):
        layer = for_tenant(tenant, {"volume": volume}, now=now)
    where = f"/configurations/{layer.pk}"
    listed = operator.get(f"{where}/versions").json()["results"]
    assert [version["number"] for version in listed] == [3, 2, 1]
    assert operator.get(f"{where}/versions/2").json()["document"] == {"volume": 2}
    assert operator.get(f"{where}/versions/9").status_code == 404
    compared = operator.get(f"{where}/differences?first=1&second=3").json()
    [found] = compared["differences"]
    assert (found["key"], found["before"], found["after"]) == ("volume", 1, 3)
    assert operator.get(f"{where}/differences?first=1").status_code == 400
    restored = operator.post(f"{where}/versions/1/restore", {"based_on": 3}).json()
    assert (restored["number"], restored["document"]) == (4, {"volume": 1})


def test_tags_are_put_in_order(
    operator: APIClient, tenant: Tenant, now: datetime
) -> None:
    for name in ("a", "b"):
        for_tag(TagFactory.create(tenant=tenant, name=name), {"volume": 1}, now=now)
    assert operator.get("/configurations/order").json() == {"tags": ["a", "b"]}
    answer = operator.put("/configurations/order", {"tags": ["b", "a"]})
    assert answer.json() == {"tags": ["b", "a"]}
    twice = operator.put("/configurations/order", {"tags": ["b", "a", "b"]})
    assert errors(twice) == (400, [("invalid_order", "tags.2")])
    missing = operator.put("/configurations/order", {"tags": ["a", "c"]})
    assert errors(missing) == (400, [("invalid_order", "tags.1")])


def test_a_preview_says_who_would_change(operator: APIClient, device: Device) -> None:
    answer = operator.post(
        "/configurations/preview", {"scope": "tenant", "document": {"volume": 5}}
    ).json()
    assert (answer["looked_at"], answer["changing"], answer["keys"]) == (
        1,
        1,
        {"volume": 1},
    )
    [changing] = answer["devices"]
    assert changing["device_id"] == str(device.pk)
    assert changing["changes"] == [
        {
            "key": "volume",
            "before": None,
            "after": 5,
            "was_said": False,
            "is_said": True,
        }
    ]


def test_the_platforms_layer_is_read_only_here(operator: APIClient) -> None:
    answer = operator.get("/configurations/platform")
    assert (answer.json()["number"], answer.json()["document"]) == (0, {})
    assert operator.put("/configurations/platform", {"document": {}}).status_code == 405


def test_a_device_is_shown_with_its_layers_and_where_each_key_is_from(
    operator: APIClient, device: Device, now: datetime
) -> None:
    tag = TagFactory.create(tenant=device.tenant, name="lobby")
    wear(device, tag)
    for_tenant(device.tenant, {"volume": 1, "locale": "de"}, now=now)
    for_tag(tag, {"volume": 2}, now=now)
    work_all(now)
    told = operator.get(f"/devices/{device.pk}/configuration").json()
    assert told["configuration"] == {"volume": 2, "locale": "de"}
    assert told["version"] == version_of(told["configuration"])
    assert told["sources"]["volume"]["label"] == "Tag lobby"
    assert [layer["document"] for layer in told["layers"]] == [
        {"volume": 1, "locale": "de"},
        {"volume": 2},
    ]
    assert told["working_out"] is False
    assert [one["key"] for one in told["differences"]] == ["locale", "volume"]


def test_a_change_that_is_not_told_yet_is_said_to_be_so(
    operator: APIClient, device: Device, now: datetime
) -> None:
    for_tenant(device.tenant, {"volume": 1}, now=now)
    work_all(now)
    for_tenant(device.tenant, {"volume": 2}, now=now)
    told = operator.get(f"/devices/{device.pk}/configuration").json()
    assert (told["working_out"], told["configuration"]) == (True, {"volume": 2})
    assert told["version"] == version_of({"volume": 1})


def test_a_device_with_a_schedule_says_whether_its_screen_is_on(
    operator: APIClient, device: Device, now: datetime
) -> None:
    days = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ]
    always = [{"days": days, "on": "00:00", "off": "00:00"}]
    for_device(device, {"schedule": always, "time_zone": "Asia/Tokyo"}, now=now)
    told = operator.get(f"/devices/{device.pk}/configuration").json()
    assert told["screen"] == {"is_on": True, "until": None}


def test_a_device_fetches_what_it_should_have(
    device: Device, as_device: Callable[..., APIClient], now: datetime
) -> None:
    for_device(device, {"volume": 5}, now=now)
    answer = as_device(device).get(MINE)
    version = version_of({"volume": 5})
    assert answer.json() == {"version": version, "configuration": {"volume": 5}}
    assert answer["ETag"] == f'"{version}"'


def test_a_device_for_which_nobody_says_anything_has_an_empty_one(
    device: Device, as_device: Callable[..., APIClient]
) -> None:
    answer = as_device(device).get(MINE).json()
    assert answer == {"version": NOTHING, "configuration": {}}


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"old", "{}"', "*"])
def test_what_a_device_has_already_is_a_304_for_one_row_read(
    device: Device, as_device: Callable[..., APIClient], now: datetime, form: str
) -> None:
    for_device(device, {"volume": 5}, now=now)
    client = as_device(device)
    said = form.format(version_of({"volume": 5}))
    client.get(MINE)  # statements are prepared once
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = client.get(MINE, HTTP_IF_NONE_MATCH=said)
    assert (answer.status_code, answer.content) == (304, b"")
    assert len(queries) == 1


def test_a_condition_that_is_not_for_reading_is_not_looked_at(
    device: Device, as_device: Callable[..., APIClient], now: datetime
) -> None:
    for_device(device, {"volume": 5}, now=now)
    for path in (MINE, "/devices/me/settings"):
        answer = as_device(device).get(path, HTTP_IF_MATCH='"other"')
        assert answer.status_code == 200


def test_connect_says_when_there_is_something_new(
    device: Device, as_device: Callable[..., APIClient], now: datetime
) -> None:
    client = as_device(device)
    steps = client.post("/devices/connect", {}).json()["next_steps"]
    assert (steps["configuration_version"], steps["configuration_waiting"]) == (
        None,
        False,
    )
    for_device(device, {"volume": 5}, now=now)
    steps = client.post("/devices/connect", {}).json()["next_steps"]
    version = version_of({"volume": 5})
    assert (steps["configuration_version"], steps["configuration_waiting"]) == (
        version,
        True,
    )
    said = {"version": version, "outcome": "applied"}
    assert client.post(f"{MINE}/reported", said).status_code == 204
    steps = client.post("/devices/connect", {}).json()["next_steps"]
    assert steps["configuration_waiting"] is False


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"version": "x" * 64, "outcome": "applied"}, ("pattern", "version")),
        ({"version": "0" * 64, "outcome": "applied"}, ("unknown_version", "version")),
        ({"version": NOTHING, "outcome": "maybe"}, ("invalid_choice", "outcome")),
        ({"version": NOTHING, "outcome": "failed"}, ("invalid_report", "reason")),
        (
            {"version": NOTHING, "outcome": "applied", "document": []},
            ("invalid", "document"),
        ),
        (
            {"version": NOTHING, "outcome": "applied", "document": {"a": "\x00"}},
            ("invalid", "document.a"),
        ),
    ],
)
def test_a_report_that_cannot_be_is_refused(
    device: Device, as_device: Callable[..., APIClient], body: Any, expected: Any
) -> None:
    answer = as_device(device).post(f"{MINE}/reported", body)
    assert errors(answer) == (400, [expected])


def test_devices_that_have_drifted_are_found(
    operator: APIClient, device: Device, now: datetime
) -> None:
    other = DeviceFactory.create(tenant=device.tenant)
    for_device(device, {"volume": 5}, now=now)
    for value, expected in (("true", device), ("false", other)):
        [found] = operator.get(f"/devices?drifted={value}").json()["results"]
        assert found["id"] == str(expected.pk)
    assert operator.get("/devices?drifted=perhaps").status_code == 400


def test_a_viewer_reads_and_saves_nothing(
    member: Callable[..., APIClient], tenant: Tenant, now: datetime
) -> None:
    layer = for_tenant(tenant, {"volume": 1}, now=now)
    viewer = member(Role.VIEWER)
    assert viewer.get(f"/configurations/{layer.pk}").status_code == 200
    answer = viewer.put(f"/configurations/{layer.pk}", {"document": {}})
    assert answer.status_code == 403
