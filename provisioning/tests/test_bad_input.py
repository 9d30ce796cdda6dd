"""Invalid requests get a 4xx response in the API's error format and change nothing."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from events.models import Event

pytestmark = pytest.mark.django_db
JSON = "application/json"

BODIES = {
    "empty": b"",
    "malformed JSON": b"{",
    "not an object": b"[1, 2]",
    "a string": b'"serial"',
    "null": b"null",
    "NaN": b'{"screen_width": NaN}',
    "NUL in text": b'{"serial_number": "a\\u0000b"}',
    "raw NUL": b'{"serial_number": "a\x00b"}',
    "lone surrogate": b'{"serial_number": "\\ud800"}',
    "bad UTF-8": b'{"serial_number": "\xff\xfe"}',
    "deeply nested": b"[" * 100_000,
    "deeply nested value": b'{"serial_number": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "wrong type": b'{"serial_number": {"a": 1}, "csr": [], "certificate": 7}',
    "list instead of text": b'{"serial_number": ["SN-1"]}',
    "text instead of list": b'{"mac_addresses": "a8:bb:cc:dd:ee:0f"}',
    "too long": json.dumps({"serial_number": "x" * 65}).encode(),
    "control character": b'{"serial_number": "a\\u0007b"}',
    "invalid MAC": b'{"mac_addresses": ["zz"]}',
    "too many MACs": json.dumps({"mac_addresses": ["a8bbccddee0f"] * 17}).encode(),
    "huge number": b'{"serial_number": "A", "screen_width": 1' + b"0" * 400 + b"}",
    "negative": b'{"serial_number": "A", "screen_width": -1}',
    "not hexadecimal": b'{"android_id": "xyz"}',
    "unknown field": b'{"serial_number": "SN-1", "certificate": "x", "serialnumber": "A"}',
    "number as text": b'{"serial_number": "A", "screen_width": "1920"}',
}
PATHS = ("/devices", "/certificates/validate")
NOTHING_USABLE = ("parse_error", "identifier_required", "request_too_large", "invalid")
UNUSABLE = ("empty", "malformed JSON", "not an object", "a string", "null", "deeply nested")


def post(client: Any, path: str, body: bytes, content_type: str = JSON) -> Any:
    return client.generic("POST", path, body, content_type=content_type)


def assert_is_api_error(response: Any) -> None:
    assert 400 <= response.status_code < 500, (response.status_code, response.content[:200])
    body = response.json()
    assert body["type"] in {"validation_error", "client_error"}
    assert body["errors"]
    for error in body["errors"]:
        assert set(error) == {"code", "detail", "attr"}
        assert error["code"]
        assert error["detail"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_invalid_body_is_rejected(
    member: Callable[..., APIClient], path: str, body: bytes
) -> None:
    response = post(member(), path, body)

    assert_is_api_error(response)
    assert not Device.every_tenant.exists()
    assert not Event.every_tenant.filter(name__startswith="device.").exists()


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_registration_is_used_as_far_as_possible(
    member: Callable[..., APIClient], body: bytes
) -> None:
    response = post(member(), "/devices/auto-register", body)

    if response.status_code != 201:
        assert_is_api_error(response)
        assert not Device.every_tenant.exists()
        assert response.json()["errors"][0]["code"] in NOTHING_USABLE


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_registration_that_is_no_json_object_is_rejected(
    member: Callable[..., APIClient], name: str
) -> None:
    response = post(member(), "/devices/auto-register", BODIES[name])

    assert response.json()["errors"][0]["code"] in NOTHING_USABLE


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"null", b"[" * 100_000])
def test_a_connect_request_that_is_no_json_object_is_rejected(
    device: Device, as_device: Callable[[Device], APIClient], body: bytes
) -> None:
    response = post(as_device(device), "/devices/connect", body)

    assert_is_api_error(response)
    device.refresh_from_db()
    assert device.last_seen is None


@pytest.mark.parametrize("size", [3_000_000, 10_000_000])
def test_a_body_that_is_too_large_is_rejected(member: Callable[..., APIClient], size: int) -> None:
    body = b'{"serial_number": "' + b"x" * size + b'"}'

    response = post(member(), "/devices", body)

    assert response.status_code == 413
    assert_is_api_error(response)


def test_a_form_encoded_body_is_rejected(member: Callable[..., APIClient]) -> None:
    response = post(member(), "/devices", b"serial_number=A", "application/x-www-form-urlencoded")

    assert response.status_code == 415
    assert_is_api_error(response)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/devices/",
        "/devices/not-a-uuid",
        "/devices/00000000-0000-0000-0000-000000000000/nothing",
        "/certificates/zz/renew/more",
        "/%00",
        "/devices/%ff",
    ],
)
def test_an_unknown_path_returns_an_api_error(path: str) -> None:
    response = Client().get(path)

    assert response.status_code == 404
    assert_is_api_error(response)


def test_an_unsupported_method_returns_an_api_error(member: Callable[..., APIClient]) -> None:
    response = member().put("/devices", {})

    assert response.status_code == 405
    assert_is_api_error(response)


def test_an_unknown_host_returns_an_api_error() -> None:
    response = Client().get("/devices", HTTP_HOST="evil.example.com")

    assert response.status_code == 400
    assert_is_api_error(response)


def test_an_error_names_the_invalid_field(member: Callable[..., APIClient]) -> None:
    body = {"mac_addresses": ["zz"], "serial_number": "A"}

    response = member().post("/devices", body)

    assert response.json()["errors"] == [
        {
            "code": "identifier_invalid",
            "detail": "'zz' is not a valid MAC address.",
            "attr": "mac_addresses",
        }
    ]


@pytest.mark.parametrize(
    "cursor", ["cD1hYmM=", "cD0lMDA=", "bz05OTk5OTk5OTk5OTk5OTk5OTk5OQ==", "%ff", "zz"]
)
@pytest.mark.parametrize("ordering", ["name", "registered_at"])
def test_an_invalid_cursor_is_no_server_error(
    member: Callable[..., APIClient], cursor: str, ordering: str
) -> None:
    response = member().get(f"/devices?ordering={ordering}&cursor={cursor}")

    assert response.status_code in {200, 404}


def test_a_csr_of_an_unknown_version_is_rejected(
    member: Callable[..., APIClient], device: Device
) -> None:
    der = base64.b64decode("".join(request_for(ec_key()).splitlines()[1:-1]))
    der = der.replace(b"\x02\x01\x00", b"\x02\x01\x05", 1)
    body = base64.encodebytes(der).decode()
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"

    response = member().post(f"/devices/{device.pk}/certificates", {"csr": pem})

    assert response.status_code == 400
    assert_is_api_error(response)


def test_an_invalid_tag_is_rejected(member: Callable[..., APIClient], device: Device) -> None:
    response = member().patch(f"/devices/{device.pk}", {"tags": ["a,b"]})

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == "tags.0"


@pytest.mark.parametrize(
    "query",
    [
        "nothing=1",
        "ordering=last_seen",
        "ordering=",
        "page_size=0",
        "page_size=501",
        "page_size=ten",
        "page_size=%C2%B2",
        "status=lost",
        "status=",
        "quarantined=maybe",
        "quarantined=",
        "asking=1",
        "model=%00",
    ],
)
def test_an_unknown_or_invalid_query_parameter_is_rejected(
    member: Callable[..., APIClient], query: str
) -> None:
    response = member().get(f"/devices?{query}")

    assert response.status_code == 400, response.content
    assert_is_api_error(response)


def test_a_deeply_nested_cursor_is_rejected(member: Callable[..., APIClient]) -> None:
    cursor = base64.b64encode(b"p=" + b"[" * 3000).decode()

    response = member().get("/devices", {"cursor": cursor})

    assert response.status_code == 404
    assert_is_api_error(response)


def test_an_error_names_the_unknown_field(member: Callable[..., APIClient]) -> None:
    response = member().post("/devices", {"serial_number": "SN-1", "modell": "X96"})

    assert response.json()["errors"] == [
        {"code": "unknown_field", "detail": "Unknown field.", "attr": "modell"}
    ]
