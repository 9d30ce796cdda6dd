"""What is told of samples: single ones, hours, days, and across the fleet."""

import random
import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from devices.metrics.models import ROLL_UPS, DailyMetrics, HourlyMetrics
from devices.metrics.services import rollups
from devices.metrics.tests.reporting import at, every_five_minutes, report
from devices.registry.models import Device, DeviceTag
from devices.registry.tests.factories import DeviceFactory, TagFactory
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def asked(
    device: Device, member: Callable[..., APIClient]
) -> Callable[[str], dict[str, Any]]:
    client = member()

    def ask(query: str) -> dict[str, Any]:
        answer = client.get(f"/devices/{device.pk}/metrics?{query}")
        assert answer.status_code == 200, answer.content
        told: dict[str, Any] = answer.json()
        return told

    return ask


def settled(now: datetime) -> int:
    """As beat's task goes on until nothing is due; how many roll-ups that were."""
    return sum(rollups.settle(bucket, now=now) for bucket in ROLL_UPS)


def day(bucket: str) -> str:
    return f"bucket={bucket}&from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z"


def test_the_newest_sample_is_told_with_every_answer(
    device: Device, asked: Callable[[str], dict[str, Any]]
) -> None:
    assert asked("")["latest"] is None
    report(device, at(NOON, network={"type": "wifi"}), now=NOON)

    latest = asked("")["latest"]

    assert latest["recorded_at"] == "2026-03-01T12:00:00Z"
    assert latest["network"]["type"] == "wifi"


def test_samples_of_a_period_come_in_pages_newest_first(
    device: Device, asked: Callable[[str], dict[str, Any]], member: Any
) -> None:
    report(device, *every_five_minutes(NOON, [1, 2, 3, 4, 5]), now=NOON + HOUR)

    first = asked(f"{day('raw')}&page_size=3")
    second = member().get(first["next"]).json()

    values = [row["cpu_usage"] for row in first["results"] + second["results"]]
    assert values == [5, 4, 3, 2, 1]
    assert second["next"] is None


def test_an_hour_tells_what_its_samples_came_to(
    device: Device, asked: Callable[[str], dict[str, Any]]
) -> None:
    report(device, *every_five_minutes(NOON, [10, 20, 60]), now=NOON + HOUR / 2)

    [hour] = asked(day("hour"))["results"]

    assert (hour["starts_at"], hour["samples"]) == ("2026-03-01T12:00:00Z", 3)
    assert hour["cpu_usage"] == {
        "count": 3,
        "average": 30,
        "minimum": 10,
        "maximum": 60,
        "p95": 56,
    }
    assert hour["temperature"]["average"] is None


@pytest.mark.parametrize("bucket", ["hour", "day"])
def test_roll_ups_are_what_the_samples_say_in_whatever_order_they_came(
    device: Device, asked: Callable[[str], dict[str, Any]], bucket: str
) -> None:
    chance = random.Random(3)
    values = [chance.uniform(0, 100) for _ in range(288)]
    samples = every_five_minutes(NOON - 12 * HOUR, values)
    by_time = list(zip(samples, values, strict=True))
    late = list(samples)
    chance.shuffle(late)
    for number in range(0, 288, 24):
        report(device, *late[number : number + 24], now=NOON + 12 * HOUR)
        if number == 120:
            settled(NOON + 14 * HOUR)  # and half of them come after that
    report(device, *samples[:50], now=NOON + 13 * HOUR)  # again

    for is_settled in (False, True):
        if is_settled:
            settled(NOON + 16 * HOUR)
        told = asked(f"{day(bucket)}&measure=cpu_usage")["results"]
        assert len(told) == (24 if bucket == "hour" else 1)
        for row in told:
            length = len("2026-03-01T12") if bucket == "hour" else len("2026-03-01")
            start = row["starts_at"][:length]
            own = [v for s, v in by_time if s["recorded_at"].startswith(start)]
            assert row["cpu_usage"]["count"] == row["samples"] == len(own)
            assert row["cpu_usage"]["average"] == pytest.approx(statistics.mean(own))
            assert row["cpu_usage"]["minimum"] == min(own)
            assert row["cpu_usage"]["maximum"] == max(own)
            exact = statistics.quantiles(own, n=20, method="inclusive")[18]
            assert row["cpu_usage"]["p95"] == pytest.approx(exact)


def test_a_percentile_is_settled_once_its_hour_is_over_and_again_after_late_samples(
    device: Device,
) -> None:
    report(device, at(NOON, cpu_usage=10), now=NOON)
    assert settled(NOON + HOUR / 2) == 0
    assert settled(NOON + 2 * HOUR) == 1
    assert (
        HourlyMetrics.every_tenant.values_list("cpu_usage_p95", flat=True).get() == 10
    )

    report(device, at(NOON + HOUR / 2, cpu_usage=30), now=NOON + 3 * HOUR)
    assert settled(NOON + 4 * HOUR) == 1

    assert (
        HourlyMetrics.every_tenant.values_list("cpu_usage_p95", flat=True).get() == 29
    )
    assert settled(NOON + 24 * HOUR) == 1  # the day
    assert DailyMetrics.every_tenant.values_list("cpu_usage_p95", flat=True).get() == 29


@pytest.mark.parametrize(
    ("query", "attr"),
    [
        ("bucket=week", "bucket"),
        ("measure=love", "measure"),
        ("from=soon", "from"),
        ("from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "to"),
        ("from=2020-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "from"),
        ("page_size=0", "page_size"),
        ("from=9999-12-31T12:00:00Z", "from"),
        ("to=0001-01-01T00:00:00Z", "from"),
        ("odd=1", "odd"),
    ],
)
def test_a_question_without_an_answer_is_refused(
    device: Device, member: Callable[..., APIClient], query: str, attr: str
) -> None:
    answer = member().get(f"/devices/{device.pk}/metrics?{query}")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == attr


@pytest.fixture
def fleet(tenant: Tenant) -> list[Device]:
    """Two devices of version 2.1 and one of 2.0, one of them in the hall."""
    devices = [
        DeviceFactory.create(tenant=tenant, model=model, app_version=version)
        for model, version in (("X96", "2.1"), ("X96", "2.1"), ("H96", "2.0"))
    ]
    DeviceTag.every_tenant.create(
        tenant=tenant,
        device=devices[0],
        tag=TagFactory.create(tenant=tenant, name="hall"),
    )
    for device, value in zip(devices, (100, 300, 700), strict=True):
        report(device, at(NOON, ram_used_mb=value), now=NOON)
    return devices


def across(client: APIClient, query: str = "") -> list[tuple[Any, ...]]:
    answer = client.get(
        "/devices/metrics/aggregate?measure=ram_used_mb&from=2026-03-01T00:00:00Z"
        f"&to=2026-03-02T00:00:00Z&{query}"
    )
    assert answer.status_code == 200, answer.content
    return [
        (group["value"], group["devices"], group["average"], group["maximum"])
        for group in answer.json()["groups"]
    ]


def test_a_measure_is_told_across_all_devices(
    fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    [(_, devices, average, most)] = across(member())

    assert (devices, average, most) == (3, pytest.approx(1100 / 3), 700)


def test_the_average_memory_of_all_devices_on_one_version(
    fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    assert across(member(), "app_version=2.1") == [("", 2, 200, 300)]
    assert across(member(), "by=app_version") == [
        ("2.1", 2, 200, 300),
        ("2.0", 1, 700, 700),
    ]


def test_a_measure_is_told_by_model_by_tag_and_by_hour(
    fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    assert across(member(), "by=model") == [("X96", 2, 200, 300), ("H96", 1, 700, 700)]
    assert across(member(), "by=tag") == [("hall", 1, 100, 100)]
    assert across(member(), "model=H96") == [("", 1, 700, 700)]
    assert across(member(), "tag=hall") == [("", 1, 100, 100)]
    [(value, devices, _, _)] = across(member(), "by=hour")
    assert (value, devices) == ("2026-03-01T12:00:00Z", 3)


def test_samples_count_for_the_version_with_which_they_came(
    tenant: Tenant, member: Callable[..., APIClient]
) -> None:
    device = DeviceFactory.create(tenant=tenant, app_version="2.0")
    report(device, at(NOON, ram_used_mb=100), now=NOON)
    device.app_version = "2.1"
    report(device, at(NOON + HOUR, ram_used_mb=500), now=NOON + HOUR)

    assert sorted(across(member(), "by=app_version")) == [
        ("2.0", 1, 100, 100),
        ("2.1", 1, 500, 500),
    ]


def test_a_late_sample_does_not_change_with_which_version_an_hour_came(
    tenant: Tenant, member: Callable[..., APIClient]
) -> None:
    device = DeviceFactory.create(tenant=tenant, app_version="2.0")
    report(device, at(NOON + HOUR / 2, ram_used_mb=100), now=NOON + HOUR)
    device.app_version = "2.1"
    report(device, at(NOON, ram_used_mb=100), now=NOON + 2 * HOUR)

    assert across(member(), "by=app_version") == [("2.0", 1, 100, 100)]


def test_by_the_hour_a_week_is_the_most(member: Callable[..., APIClient]) -> None:
    answer = member().get(
        "/devices/metrics/aggregate?measure=cpu_usage&by=hour&from=2026-02-01T00:00:00Z"
        "&to=2026-03-01T00:00:00Z"
    )
    assert answer.json()["errors"][0]["code"] == "invalid_question"


def test_another_tenants_devices_are_in_no_average(
    fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    stranger = DeviceFactory.create()

    assert across(member(of=stranger.tenant)) == []
    with tenant_scope(stranger.tenant_id):
        assert not HourlyMetrics.objects.exists()
