"""Storing the samples that devices send."""

import gzip
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import Sum
from django.utils import timezone
from rest_framework.test import APIClient

from devices.metrics.models import DeviceMetrics, HourlyMetrics, LatestMetrics
from devices.metrics.services import ingest
from devices.metrics.tests.reporting import at, every_five_minutes, report
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from tenants.context import tenant_scope

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture
def client(device: Device, as_device: Callable[[Device], APIClient]) -> APIClient:
    return as_device(device)


def post_raw(client: APIClient, body: bytes, **headers: str) -> Any:
    return client.generic(
        "POST",
        "/devices/metrics",
        body,  # type: ignore[arg-type] # bytes are accepted too
        "application/json",
        headers=headers,
    )


def first_error(response: Any) -> tuple[int, str, str | None]:
    error = response.json()["errors"][0]
    return response.status_code, error["code"], error["attr"]


def test_every_field_of_a_sample_is_stored(client: APIClient, device: Device) -> None:
    sample = {
        "recorded_at": (timezone.now() - MINUTE).isoformat(),
        "cpu_usage": 12.5,
        "ram_used_mb": 512,
        "ram_total_mb": 2048,
        "storage_used_mb": 4000,
        "storage_total_mb": 8000,
        "battery_level": 80,
        "is_charging": True,
        "temperature": 55.5,
        "network": {"type": "wifi", "ssid": "Ä", "signal_strength": -60, "latency": 9},
        "running_apps": ["com.btmanagement.player"],
        "screen": {"is_on": True, "brightness": 200},
        "odd": {"kept": "apart"},
    }

    response = client.post("/devices/metrics", sample)

    assert response.status_code == 200, response.content
    assert response.json()["stored"] == 1
    row = DeviceMetrics.every_tenant.get(device_id=device.pk)
    assert row.tenant_id == device.tenant_id
    assert (row.cpu_usage, row.ram_usage, row.storage_usage) == (12.5, 25, 50)
    assert (row.ssid, row.signal_strength, row.is_connected) == ("Ä", -60, 1)
    assert row.running_apps == ["com.btmanagement.player"]
    assert (row.screen_is_on, row.screen_brightness) == (True, 200)
    assert row.extra == {"odd": {"kept": "apart"}}
    assert row.device_time is None


@pytest.mark.parametrize("form", ["list", "batch"])
def test_several_samples_are_accepted_as_a_list_or_a_batch(client: APIClient, form: str) -> None:
    samples = every_five_minutes(timezone.now() - timedelta(hours=4), [1.0] * 40)

    response = client.post("/devices/metrics", samples if form == "list" else {"samples": samples})

    assert response.json()["stored"] == 40


def test_a_gzip_compressed_list_is_accepted(client: APIClient) -> None:
    body = gzip.compress(json.dumps([{"cpu_usage": 1}]).encode())

    response = post_raw(client, body, **{"Content-Encoding": "gzip"})

    assert response.json()["stored"] == 1


def test_repeated_samples_are_stored_once(device: Device, now: datetime) -> None:
    samples = every_five_minutes(now - timedelta(hours=1), [1, 2, 3])
    report(device, *samples, now=now)

    repeated = report(device, *samples, at(now, cpu_usage=4), now=now + MINUTE)

    assert (repeated.stored, repeated.repeated) == (1, 3)
    assert DeviceMetrics.every_tenant.count() == 4


def test_a_duplicate_within_one_batch_is_stored_once(device: Device, now: datetime) -> None:
    outcome = report(device, at(now), at(now), now=now)

    assert (outcome.stored, outcome.repeated) == (1, 1)


def test_a_repeated_sample_of_a_wrong_clock_is_stored_once(device: Device, now: datetime) -> None:
    ahead = at(now + timedelta(days=20))
    first = report(device, ahead, now=now)

    repeated = report(device, ahead, now=now + MINUTE)

    assert (first.stored, first.corrected) == (1, 1)
    assert (repeated.stored, repeated.repeated) == (0, 1)
    row = DeviceMetrics.every_tenant.get()
    assert row.recorded_at == now
    assert row.device_time == now + timedelta(days=20)


def test_a_clock_that_starts_again_at_the_same_time_loses_no_samples(
    device: Device, now: datetime
) -> None:
    def send(now: datetime) -> Any:
        start = datetime(2015, 1, 1, tzinfo=UTC)
        samples = [at(start + timedelta(minutes=5), cpu_usage=1)]
        sent_at = (start + timedelta(minutes=10)).isoformat()
        with tenant_scope(device.tenant_id):
            return ingest.ingest(device=device, samples=samples, sent_at=sent_at, now=now)

    first, repeated = send(now), send(now + MINUTE)
    after_a_reboot = send(now + timedelta(hours=3))

    assert (first.stored, repeated.stored, after_a_reboot.stored) == (1, 0, 1)


@pytest.mark.parametrize(
    ("first_clock_error", "second_clock_error", "delay"),
    [
        # The same request arrives late, so its `sent_at` makes the clock look wrong.
        (timedelta(), timedelta(), 20 * MINUTE),
        # The clock was five hours behind, and was corrected before the repetition.
        (timedelta(hours=-5), MINUTE, MINUTE),
        (timedelta(hours=-5), timedelta(hours=-5), 40 * MINUTE),
    ],
    ids=["late", "clock corrected", "wrong and late"],
)
def test_a_repeated_request_counts_once_whatever_its_sent_at(
    device: Device,
    now: datetime,
    first_clock_error: timedelta,
    second_clock_error: timedelta,
    delay: timedelta,
) -> None:
    samples = every_five_minutes(now + first_clock_error - 30 * MINUTE, [1, 2, 3])

    def send(sent_at: datetime, moment: datetime) -> tuple[int, int]:
        with tenant_scope(device.tenant_id):
            outcome = ingest.ingest(
                device=device, samples=samples, sent_at=sent_at.isoformat(), now=moment
            )
        return outcome.stored, outcome.repeated

    assert send(now + first_clock_error, now) == (3, 0)
    assert send(now + second_clock_error, now + delay) == (0, 3)
    assert HourlyMetrics.every_tenant.aggregate(total=Sum("samples"))["total"] == 3


def test_a_late_sample_does_not_replace_the_latest_sample(device: Device, now: datetime) -> None:
    report(device, at(now, cpu_usage=50), now=now)
    report(device, at(now - MINUTE, cpu_usage=10), now=now + MINUTE)

    assert LatestMetrics.every_tenant.get(device=device).cpu_usage == 50


def test_storing_samples_sets_the_device_online(device: Device, now: datetime) -> None:
    report(device, at(now), now=now)

    device.refresh_from_db()
    assert (device.status, device.last_seen) == ("online", now)
    assert Event.every_tenant.named("device.status_changed").count() == 1


def test_a_list_without_a_valid_sample_is_refused(client: APIClient) -> None:
    response = client.post("/devices/metrics", [{"cpu_usage": 105}, {"battery_level": -1}])

    assert first_error(response) == (400, "out_of_bounds", "samples.0.cpu_usage")
    assert response.json()["errors"][1]["attr"] == "samples.1.battery_level"


def test_an_invalid_single_sample_is_refused_with_the_name_of_its_field(client: APIClient) -> None:
    response = client.post("/devices/metrics", {"network": {"latency": -1}})

    assert first_error(response) == (400, "out_of_bounds", "network.latency")


def test_a_sample_is_stored_without_its_unusable_values(client: APIClient) -> None:
    response = client.post("/devices/metrics", {"cpu_usage": "20", "battery_level": -1})

    assert response.json()["stored"] == 1
    assert [(item["field"], item["code"]) for item in response.json()["ignored"]] == [
        ("cpu_usage", "converted"),
        ("battery_level", "out_of_bounds"),
    ]
    row = DeviceMetrics.every_tenant.get()
    assert (row.cpu_usage, row.battery_level) == (20, None)


@pytest.mark.parametrize(
    ("batch", "ignored"),
    [
        ({"device": "x"}, "device"),
        ({"sent_at": "soon"}, "sent_at"),
        ({"sent_at": 1772366400}, "sent_at"),
    ],
)
def test_unusable_fields_of_a_batch_are_named(client: APIClient, batch: Any, ignored: str) -> None:
    response = client.post("/devices/metrics", {"samples": {"cpu_usage": 1}, **batch})

    assert response.json()["stored"] == 1
    assert [item["field"] for item in response.json()["ignored"]] == [ignored]


def test_valid_samples_of_a_batch_are_stored_and_faults_are_listed(client: APIClient) -> None:
    invalid = {"ram_used_mb": -1, "temperature": 900}

    response = client.post("/devices/metrics", {"samples": [{"cpu_usage": 5}, invalid]})

    assert response.status_code == 200
    assert response.json()["stored"] == 1
    assert [fault["attr"] for fault in response.json()["refused"]] == [
        "samples.1.ram_used_mb",
        "samples.1.temperature",
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_reported_as_faults_of_their_sample(
    client: APIClient, value: float
) -> None:
    body = json.dumps({"samples": [{"cpu_usage": 1}, {"cpu_usage": value}]}).encode()

    response = post_raw(client, body)

    assert response.json()["stored"] == 1
    assert response.json()["refused"][0]["attr"] == "samples.1.cpu_usage"
    single = post_raw(client, json.dumps({"temperature": value}).encode())
    assert first_error(single) == (400, "not_finite", "temperature")


def test_too_many_samples_in_one_request_are_refused(client: APIClient) -> None:
    response = client.post("/devices/metrics", [{"cpu_usage": 1}] * 10_000)

    assert first_error(response) == (400, "too_many_samples", "samples")
    assert not DeviceMetrics.every_tenant.exists()


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ([], "samples"),
        ({"samples": []}, "samples"),
        ({"samples": "one"}, "samples"),
        ({}, "non_field_errors"),
    ],
    ids=str,
)
def test_an_invalid_batch_is_refused(client: APIClient, body: Any, attr: str) -> None:
    response = client.post("/devices/metrics", body)

    assert (response.status_code, response.json()["errors"][0]["attr"]) == (400, attr)


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(b'{"cpu_usage": 1}')[:-6], "gzip", 400),
        (gzip.compress(b'{"cpu_usage": 1}') + b"more", "gzip", 400),
        (b'{"cpu_usage": 1}', "gzip", 400),
        (b"", "gzip", 400),
        (gzip.compress(b" " * 100_000_000), "gzip", 413),
        (b'{"cpu_usage": 1}', "br", 415),
        (b'"text"', "", 400),
        (b"[" * 10_000, "", 400),
        (b"[" * 100_000, "", 413),
        (b"[" + b"1," * 300_000 + b"1]", "", 413),
        (b'{"cpu_usage": ', "", 400),
    ],
    ids=[
        "truncated gzip",
        "data after gzip",
        "not gzip",
        "empty",
        "decompression bomb",
        "brotli",
        "JSON string",
        "deeply nested",
        "too many brackets",
        "too many values",
        "truncated JSON",
    ],
)
def test_an_unreadable_body_is_refused(
    client: APIClient, body: bytes, encoding: str, status: int
) -> None:
    response = post_raw(client, body, **{"Content-Encoding": encoding})

    assert response.status_code == status, response.content
    assert not DeviceMetrics.every_tenant.exists()


def test_a_quarantined_device_cannot_store_samples(client: APIClient, device: Device) -> None:
    Device.every_tenant.filter(pk=device.pk).update(quarantined_at=timezone.now())

    response = client.post("/devices/metrics", {"cpu_usage": 1})

    assert response.status_code == 403


def test_a_member_cannot_store_samples(member: Callable[..., APIClient]) -> None:
    assert member().post("/devices/metrics", {"cpu_usage": 1}).status_code == 403


def test_devices_may_have_samples_of_the_same_time(now: datetime) -> None:
    first, other = DeviceFactory.create(), DeviceFactory.create()
    report(first, at(now, cpu_usage=1), now=now)
    report(other, at(now, cpu_usage=2), now=now)

    assert DeviceMetrics.every_tenant.get(device_id=other.pk).cpu_usage == 2
