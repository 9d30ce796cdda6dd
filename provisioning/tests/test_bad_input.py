"""Whatever arrives, the answer is a 4xx of the one shape and nothing is half done."""

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
    "nothing": b"",
    "no JSON": b"{",
    "not an object": b"[1, 2]",
    "a word": b'"serial"',
    "null": b"null",
    "NaN": b'{"screen_width": NaN}',
    "NUL in text": b'{"serial_number": "a\\u0000b"}',
    "raw NUL": b'{"serial_number": "a\x00b"}',
    "lone surrogate": b'{"serial_number": "\\ud800"}',
    "bad UTF-8": b'{"serial_number": "\xff\xfe"}',
    "deep": b"[" * 100_000,
    "deep inside": b'{"serial_number": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "wrong type": b'{"serial_number": {"a": 1}, "csr": [], "certificate": 7}',
    "list for text": b'{"serial_number": ["SN-1"]}',
    "text for list": b'{"mac_addresses": "aa:bb:cc:dd:ee:0f"}',
    "too long": json.dumps({"serial_number": "x" * 65}).encode(),
    "control character": b'{"serial_number": "a\\u0007b"}',
    "no MAC": b'{"mac_addresses": ["zz"]}',
    "too many MACs": json.dumps({"mac_addresses": ["aabbccddee0f"] * 17}).encode(),
    "huge number": b'{"serial_number": "A", "screen_width": 1' + b"0" * 400 + b"}",
    "negative": b'{"serial_number": "A", "screen_width": -1}',
    "no hexadecimal": b'{"android_id": "xyz"}',
    "unknown field": b'{"serial_number": "SN-1", "certificate": "x", "serialnumber": "A"}',
    "number as text": b'{"serial_number": "A", "screen_width": "1920"}',
}
DOORS = ("/devices/auto-register", "/devices", "/certificates/validate")


def sent(client: Any, path: str, body: bytes, content_type: str = JSON) -> Any:
    return client.generic("POST", path, body, content_type=content_type)


def assert_the_one_shape(answer: Any) -> None:
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.content[:200])
    body = answer.json()
    assert body["type"] in {"validation_error", "client_error"}
    assert body["errors"]
    for error in body["errors"]:
        assert set(error) == {"code", "detail", "attr"}
        assert error["code"]
        assert error["detail"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_bad_body_is_refused(
    member: Callable[..., APIClient], door: str, body: bytes
) -> None:
    answer = sent(member(), door, body)

    assert_the_one_shape(answer)
    assert not Device.every_tenant.exists()
    assert not Event.every_tenant.filter(name__startswith="device.").exists()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"app_version": 1.5e999}',
        b'{"app_version": "a\\u0000"}',
        b'{"ip_address": "300.1.1.1"}',
        b'{"os_version": "\\udfff"}',
    ],
)
def test_a_bad_connect_is_refused(
    device: Device, as_device: Callable[[Device], APIClient], body: bytes
) -> None:
    answer = sent(as_device(device), "/devices/connect", body)

    assert_the_one_shape(answer)
    device.refresh_from_db()
    assert device.last_seen is None


@pytest.mark.parametrize("size", [3_000_000, 10_000_000])
def test_a_body_that_is_too_large_is_refused(
    member: Callable[..., APIClient], size: int
) -> None:
    body = b'{"serial_number": "' + b"x" * size + b'"}'

    answer = sent(member(), "/devices", body)

    assert answer.status_code == 413
    assert_the_one_shape(answer)


def test_a_form_is_no_json(member: Callable[..., APIClient]) -> None:
    answer = sent(
        member(), "/devices", b"serial_number=A", "application/x-www-form-urlencoded"
    )

    assert answer.status_code == 415
    assert_the_one_shape(answer)


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
def test_an_address_that_is_none_answers_in_the_one_shape(path: str) -> None:
    answer = Client().get(path)

    assert answer.status_code == 404
    assert_the_one_shape(answer)


def test_a_wrong_method_answers_in_the_one_shape(
    member: Callable[..., APIClient],
) -> None:
    answer = member().put("/devices", {})

    assert answer.status_code == 405
    assert_the_one_shape(answer)


def test_a_host_that_is_not_ours_answers_in_the_one_shape() -> None:
    answer = Client().get("/devices", HTTP_HOST="evil.example.com")

    assert answer.status_code == 400
    assert_the_one_shape(answer)


def test_the_field_at_fault_is_named(member: Callable[..., APIClient]) -> None:
    body = {"mac_addresses": ["zz"], "serial_number": "A"}

    answer = member().post("/devices", body)

    assert answer.json()["errors"] == [
        {
            "code": "identifier_invalid",
            "detail": "'zz' is not a mac address.",
            "attr": "mac_addresses",
        }
    ]


@pytest.mark.parametrize(
    "cursor", ["cD1hYmM=", "cD0lMDA=", "bz05OTk5OTk5OTk5OTk5OTk5OTk5OQ==", "%ff", "zz"]
)
@pytest.mark.parametrize("ordering", ["name", "registered_at"])
def test_a_broken_cursor_is_refused(
    member: Callable[..., APIClient], cursor: str, ordering: str
) -> None:
    answer = member().get(f"/devices?ordering={ordering}&cursor={cursor}")

    assert answer.status_code in {200, 404}


def test_a_certificate_or_request_of_no_known_version_is_refused(
    member: Callable[..., APIClient], device: Device
) -> None:
    der = base64.b64decode("".join(request_for(ec_key()).splitlines()[1:-1]))
    odd = der.replace(b"\x02\x01\x00", b"\x02\x01\x05", 1)
    body = base64.encodebytes(odd).decode()
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"

    answer = member().post(f"/devices/{device.pk}/certificates", {"csr": pem})

    assert answer.status_code == 400
    assert_the_one_shape(answer)


def test_a_tag_that_cannot_be_is_refused(
    member: Callable[..., APIClient], device: Device
) -> None:
    answer = member().patch(f"/devices/{device.pk}", {"tags": ["a,b"]})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == "tags.0"


@pytest.mark.parametrize(
    "query",
    [
        *("nothing=1", "ordering=last_seen", "ordering=", "page_size=0"),
        *("page_size=501", "page_size=ten", "page_size=%C2%B2", "status=lost"),
        *("status=", "quarantined=maybe", "quarantined=", "asking=1", "model=%00"),
    ],
)
def test_a_query_that_cannot_be_is_refused_and_not_guessed_at(
    member: Callable[..., APIClient], query: str
) -> None:
    answer = member().get(f"/devices?{query}")

    assert answer.status_code == 400, answer.content
    assert_the_one_shape(answer)


def test_a_cursor_of_bottomless_depth_is_refused(
    member: Callable[..., APIClient],
) -> None:
    deep = base64.b64encode(b"p=" + b"[" * 3000).decode()

    answer = member().get("/devices", {"cursor": deep})

    assert answer.status_code == 404
    assert_the_one_shape(answer)


def test_an_unknown_field_is_named(member: Callable[..., APIClient]) -> None:
    answer = member().post("/devices", {"serial_number": "SN-1", "modell": "X96"})

    assert answer.json()["errors"] == [
        {"code": "unknown_field", "detail": "There is no such field.", "attr": "modell"}
    ]
