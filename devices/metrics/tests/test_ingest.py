"""What a device reports: taken, stored, acknowledged."""

import gzip
import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta
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
def box(device: Device, as_device: Callable[[Device], APIClient]) -> APIClient:
    return as_device(device)


def sent_raw(box: APIClient, body: bytes, **headers: str) -> Any:
    return box.generic(
        *("POST", "/devices/metrics"),
        body,  # type: ignore[arg-type] # bytes do as well
        "application/json",
        headers=headers,
    )


def first_error(answer: Any) -> tuple[int, str, str | None]:
    error = answer.json()["errors"][0]
    return answer.status_code, error["code"], error["attr"]


def test_a_sample_is_stored_as_it_was_said(box: APIClient, device: Device) -> None:
    said = {
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

    answer = box.post("/devices/metrics", said)

    assert answer.status_code == 200, answer.content
    assert answer.json()["stored"] == 1
    row = DeviceMetrics.every_tenant.get(device_id=device.pk)
    assert row.tenant_id == device.tenant_id
    assert (row.cpu_usage, row.ram_usage, row.storage_usage) == (12.5, 25, 50)
    assert (row.ssid, row.signal_strength, row.is_connected) == ("Ä", -60, 1)
    assert row.running_apps == ["com.btmanagement.player"]
    assert (row.screen_is_on, row.screen_brightness) == (True, 200)
    assert row.extra == {"odd": {"kept": "apart"}}
    assert row.device_time is None


@pytest.mark.parametrize("form", ["list", "batch"])
def test_several_come_as_a_list_or_as_a_batch(box: APIClient, form: str) -> None:
    samples = every_five_minutes(timezone.now() - timedelta(hours=4), [1.0] * 40)

    answer = box.post(
        "/devices/metrics", samples if form == "list" else {"samples": samples}
    )

    assert answer.json()["stored"] == 40


def test_a_batch_may_come_as_gzip(box: APIClient) -> None:
    body = gzip.compress(json.dumps([{"cpu_usage": 1}]).encode())

    answer = sent_raw(box, body, **{"Content-Encoding": "gzip"})

    assert answer.json()["stored"] == 1


def test_what_comes_again_is_there_once(device: Device, now: datetime) -> None:
    samples = every_five_minutes(now - timedelta(hours=1), [1, 2, 3])
    report(device, *samples, now=now)

    again = report(device, *samples, at(now, cpu_usage=4), now=now + MINUTE)

    assert (again.stored, again.repeated) == (1, 3)
    assert DeviceMetrics.every_tenant.count() == 4


def test_a_sample_that_is_twice_in_one_batch_is_there_once(
    device: Device, now: datetime
) -> None:
    outcome = report(device, at(now), at(now), now=now)

    assert (outcome.stored, outcome.repeated) == (1, 1)


def test_what_a_wrong_clock_sends_again_is_there_once(
    device: Device, now: datetime
) -> None:
    ahead = at(now + timedelta(days=20))
    first = report(device, ahead, now=now)

    again = report(device, ahead, now=now + MINUTE)

    assert (first.stored, first.corrected) == (1, 1)
    assert (again.stored, again.repeated) == (0, 1)
    row = DeviceMetrics.every_tenant.get()
    assert row.recorded_at == now
    assert row.device_time == now + timedelta(days=20)


@pytest.mark.parametrize(
    ("first_sent", "then_sent", "then"),
    [
        # The very same bytes, late: by them the clock seems to be wrong.
        (timedelta(), timedelta(), 20 * MINUTE),
        # The clock was five hours behind, and was set before the second time.
        (timedelta(hours=-5), MINUTE, MINUTE),
        (timedelta(hours=-5), timedelta(hours=-5), 40 * MINUTE),
    ],
    ids=["late", "set", "wrong and late"],
)
def test_what_is_sent_again_counts_once_whatever_the_clock_says_meanwhile(
    device: Device,
    now: datetime,
    first_sent: timedelta,
    then_sent: timedelta,
    then: timedelta,
) -> None:
    samples = every_five_minutes(now + first_sent - 30 * MINUTE, [1, 2, 3])

    def send(sent_at: datetime, moment: datetime) -> tuple[int, int]:
        with tenant_scope(device.tenant_id):
            outcome = ingest.ingest(
                device=device, samples=samples, sent_at=sent_at.isoformat(), now=moment
            )
        return outcome.stored, outcome.repeated

    assert send(now + first_sent, now) == (3, 0)
    assert send(now + then_sent, now + then) == (0, 3)
    assert HourlyMetrics.every_tenant.aggregate(total=Sum("samples"))["total"] == 3


def test_the_newest_sample_is_the_latest_whenever_the_others_come(
    device: Device, now: datetime
) -> None:
    report(device, at(now, cpu_usage=50), now=now)
    report(device, at(now - MINUTE, cpu_usage=10), now=now + MINUTE)

    assert LatestMetrics.every_tenant.get(device=device).cpu_usage == 50


def test_a_report_is_a_sign_of_life(device: Device, now: datetime) -> None:
    report(device, at(now), now=now)

    device.refresh_from_db()
    assert (device.status, device.last_seen) == ("online", now)
    assert Event.every_tenant.named("device.status_changed").count() == 1


def test_a_batch_of_bad_samples_alone_is_refused_whole(box: APIClient) -> None:
    answer = box.post("/devices/metrics", [{"cpu_usage": 101}, {"battery_level": -1}])

    assert first_error(answer) == (400, "out_of_bounds", "samples.0.cpu_usage")
    assert answer.json()["errors"][1]["attr"] == "samples.1.battery_level"


def test_a_bad_sample_alone_is_refused_by_its_field(box: APIClient) -> None:
    answer = box.post("/devices/metrics", {"network": {"latency": -1}})

    assert first_error(answer) == (400, "out_of_bounds", "network.latency")


def test_in_a_batch_the_good_ones_are_kept_and_the_bad_ones_are_listed(
    box: APIClient,
) -> None:
    bad = {"ram_used_mb": -1, "temperature": 900}

    answer = box.post("/devices/metrics", {"samples": [{"cpu_usage": 5}, bad]})

    assert answer.status_code == 200
    assert answer.json()["stored"] == 1
    assert [fault["attr"] for fault in answer.json()["refused"]] == [
        "samples.1.ram_used_mb",
        "samples.1.temperature",
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_name_their_sample(box: APIClient, value: float) -> None:
    body = json.dumps({"samples": [{"cpu_usage": 1}, {"cpu_usage": value}]}).encode()

    answer = sent_raw(box, body)

    assert answer.json()["stored"] == 1
    assert answer.json()["refused"][0]["attr"] == "samples.1.cpu_usage"
    alone = sent_raw(box, json.dumps({"temperature": value}).encode())
    assert first_error(alone) == (400, "not_finite", "temperature")


def test_too_many_samples_at_once_are_refused(box: APIClient) -> None:
    answer = box.post("/devices/metrics", [{"cpu_usage": 1}] * 10_000)

    assert first_error(answer) == (400, "too_many_samples", "samples")
    assert not DeviceMetrics.every_tenant.exists()


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ([], "samples"),
        ({"samples": []}, "samples"),
        ({"samples": {"cpu_usage": 1}}, "samples"),
        ({"samples": [{"cpu_usage": 1}], "device": "x"}, "device"),
        ({"samples": [{"cpu_usage": 1}], "sent_at": "soon"}, "sent_at"),
        ({"samples": [{"cpu_usage": 1}], "sent_at": "1970-01-01T00:00:00Z"}, "sent_at"),
        ({}, "non_field_errors"),
    ],
    ids=str,
)
def test_a_body_that_is_no_batch_is_refused(
    box: APIClient, body: Any, attr: str
) -> None:
    answer = box.post("/devices/metrics", body)

    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, attr)


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
        (b"[" * 100_000, "", 400),
        (b'{"cpu_usage": ', "", 400),
        (b'{"odd": "\\ud800"}', "", 400),
    ],
    ids=[
        "broken off",
        "followed",
        "plain",
        "empty",
        "bomb",
        "brotli",
        "text",
        "deep",
        "half",
        "surrogate",
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    box: APIClient, body: bytes, encoding: str, status: int
) -> None:
    answer = sent_raw(box, body, **{"Content-Encoding": encoding})

    assert answer.status_code == status, answer.content
    assert not DeviceMetrics.every_tenant.exists()


def test_a_device_in_quarantine_reports_nothing(box: APIClient, device: Device) -> None:
    Device.every_tenant.filter(pk=device.pk).update(quarantined_at=timezone.now())

    answer = box.post("/devices/metrics", {"cpu_usage": 1})

    assert answer.status_code == 403


def test_a_member_reports_for_nobody(member: Callable[..., APIClient]) -> None:
    assert member().post("/devices/metrics", {"cpu_usage": 1}).status_code == 403


def test_each_device_has_its_own_samples(now: datetime) -> None:
    one, other = DeviceFactory.create(), DeviceFactory.create()
    report(one, at(now, cpu_usage=1), now=now)
    report(other, at(now, cpu_usage=2), now=now)

    assert DeviceMetrics.every_tenant.get(device_id=other.pk).cpu_usage == 2
