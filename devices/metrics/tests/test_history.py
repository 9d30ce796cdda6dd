"""Reading samples: single ones, hourly and daily roll-ups, and fleet aggregates."""

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
def get_history(
    device: Device, member: Callable[..., APIClient]
) -> Callable[[str], dict[str, Any]]:
    client = member()

    def get(query: str) -> dict[str, Any]:
        response = client.get(f"/devices/{device.pk}/metrics?{query}")
        assert response.status_code == 200, response.content
        data: dict[str, Any] = response.json()
        return data

    return get


def compute_percentiles(now: datetime) -> int:
    """Compute all due percentiles as the periodic task does. Return the number of roll-ups."""
    return sum(rollups.compute_percentiles(bucket, now=now) for bucket in ROLL_UPS)


def query_day(bucket: str) -> str:
    return f"bucket={bucket}&from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z"


def test_every_response_contains_the_newest_sample(
    device: Device, get_history: Callable[[str], dict[str, Any]]
) -> None:
    assert get_history("")["latest"] is None
    report(device, at(NOON, network={"type": "wifi"}), now=NOON)

    latest = get_history("")["latest"]

    assert latest["recorded_at"] == "2026-03-01T12:00:00Z"
    assert latest["network"]["type"] == "wifi"


def test_samples_of_a_period_are_paged_newest_first(
    device: Device, get_history: Callable[[str], dict[str, Any]], member: Any
) -> None:
    report(device, *every_five_minutes(NOON, [1, 2, 3, 4, 5]), now=NOON + HOUR)

    first = get_history(f"{query_day('raw')}&page_size=3")
    second = member().get(first["next"]).json()

    values = [row["cpu_usage"] for row in first["results"] + second["results"]]
    assert values == [5, 4, 3, 2, 1]
    assert second["next"] is None


def test_an_hourly_roll_up_aggregates_its_samples(
    device: Device, get_history: Callable[[str], dict[str, Any]]
) -> None:
    report(device, *every_five_minutes(NOON, [10, 20, 60]), now=NOON + HOUR / 2)

    [hour] = get_history(query_day("hour"))["results"]

    assert (hour["starts_at"], hour["samples"]) == ("2026-03-01T12:00:00Z", 3)
    assert hour["cpu_usage"] == {"count": 3, "average": 30, "minimum": 10, "maximum": 60, "p95": 56}
    assert hour["temperature"]["average"] is None


@pytest.mark.parametrize("bucket", ["hour", "day"])
def test_roll_ups_match_the_samples_in_any_order_of_arrival(
    device: Device, get_history: Callable[[str], dict[str, Any]], bucket: str
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
            compute_percentiles(NOON + 14 * HOUR)  # half of the samples arrive later
    report(device, *samples[:50], now=NOON + 13 * HOUR)  # repeated

    for is_computed in (False, True):
        if is_computed:
            compute_percentiles(NOON + 16 * HOUR)
        results = get_history(f"{query_day(bucket)}&measure=cpu_usage")["results"]
        assert len(results) == (24 if bucket == "hour" else 1)
        for row in results:
            length = len("2026-03-01T12") if bucket == "hour" else len("2026-03-01")
            start = row["starts_at"][:length]
            expected = [v for s, v in by_time if s["recorded_at"].startswith(start)]
            assert row["cpu_usage"]["count"] == row["samples"] == len(expected)
            assert row["cpu_usage"]["average"] == pytest.approx(statistics.mean(expected))
            assert row["cpu_usage"]["minimum"] == min(expected)
            assert row["cpu_usage"]["maximum"] == max(expected)
            exact = statistics.quantiles(expected, n=20, method="inclusive")[18]
            assert row["cpu_usage"]["p95"] == pytest.approx(exact)


def test_a_percentile_is_computed_after_its_hour_and_again_after_late_samples(
    device: Device,
) -> None:
    report(device, at(NOON, cpu_usage=10), now=NOON)
    assert compute_percentiles(NOON + HOUR / 2) == 0
    assert compute_percentiles(NOON + 2 * HOUR) == 1
    assert HourlyMetrics.every_tenant.values_list("cpu_usage_p95", flat=True).get() == 10

    report(device, at(NOON + HOUR / 2, cpu_usage=30), now=NOON + 3 * HOUR)
    assert compute_percentiles(NOON + 4 * HOUR) == 1

    assert HourlyMetrics.every_tenant.values_list("cpu_usage_p95", flat=True).get() == 29
    assert compute_percentiles(NOON + 24 * HOUR) == 1  # the day
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
def test_an_invalid_query_is_refused_with_the_name_of_its_parameter(
    device: Device, member: Callable[..., APIClient], query: str, attr: str
) -> None:
    response = member().get(f"/devices/{device.pk}/metrics?{query}")

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == attr


@pytest.fixture
def fleet(tenant: Tenant) -> list[Device]:
    """Two devices with version 2.1 and one with 2.0; the first has the tag "hall"."""
    devices = [
        DeviceFactory.create(tenant=tenant, model=model, app_version=version)
        for model, version in (("X96", "2.1"), ("X96", "2.1"), ("H96", "2.0"))
    ]
    DeviceTag.every_tenant.create(
        tenant=tenant, device=devices[0], tag=TagFactory.create(tenant=tenant, name="hall")
    )
    for device, value in zip(devices, (100, 300, 700), strict=True):
        report(device, at(NOON, ram_used_mb=value), now=NOON)
    return devices


def aggregate(client: APIClient, query: str = "") -> list[tuple[Any, ...]]:
    response = client.get(
        "/devices/metrics/aggregate?measure=ram_used_mb&from=2026-03-01T00:00:00Z"
        f"&to=2026-03-02T00:00:00Z&{query}"
    )
    assert response.status_code == 200, response.content
    return [
        (group["value"], group["devices"], group["average"], group["maximum"])
        for group in response.json()["groups"]
    ]


def test_a_measure_is_aggregated_across_all_devices(
    fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    [(_, devices, average, maximum)] = aggregate(member())

    assert (devices, average, maximum) == (3, pytest.approx(1100 / 3), 700)


def test_aggregates_can_be_filtered_and_grouped_by_app_version(
    fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    assert aggregate(member(), "app_version=2.1") == [("", 2, 200, 300)]
    assert aggregate(member(), "by=app_version") == [("2.1", 2, 200, 300), ("2.0", 1, 700, 700)]


def test_aggregates_can_be_grouped_by_model_tag_and_hour(
    fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    assert aggregate(member(), "by=model") == [("X96", 2, 200, 300), ("H96", 1, 700, 700)]
    assert aggregate(member(), "by=tag") == [("hall", 1, 100, 100)]
    assert aggregate(member(), "model=H96") == [("", 1, 700, 700)]
    assert aggregate(member(), "tag=hall") == [("", 1, 100, 100)]
    [(value, devices, _, _)] = aggregate(member(), "by=hour")
    assert (value, devices) == ("2026-03-01T12:00:00Z", 3)


def test_samples_count_for_the_app_version_that_sent_them(
    tenant: Tenant, member: Callable[..., APIClient]
) -> None:
    device = DeviceFactory.create(tenant=tenant, app_version="2.0")
    report(device, at(NOON, ram_used_mb=100), now=NOON)
    device.app_version = "2.1"
    device.save()
    report(device, at(NOON + HOUR, ram_used_mb=500), now=NOON + HOUR)

    assert sorted(aggregate(member(), "by=app_version")) == [
        ("2.0", 1, 100, 100),
        ("2.1", 1, 500, 500),
    ]


def test_a_late_sample_does_not_change_the_app_version_of_an_hour(
    tenant: Tenant, member: Callable[..., APIClient]
) -> None:
    device = DeviceFactory.create(tenant=tenant, app_version="2.0")
    report(device, at(NOON + HOUR / 2, ram_used_mb=100), now=NOON + HOUR)
    device.app_version = "2.1"
    device.save()
    report(device, at(NOON, ram_used_mb=100), now=NOON + 2 * HOUR)

    assert aggregate(member(), "by=app_version") == [("2.0", 1, 100, 100)]


def test_grouping_by_hour_allows_at_most_a_week(member: Callable[..., APIClient]) -> None:
    response = member().get(
        "/devices/metrics/aggregate?measure=cpu_usage&by=hour&from=2026-02-01T00:00:00Z"
        "&to=2026-03-01T00:00:00Z"
    )
    assert response.json()["errors"][0]["code"] == "invalid_query"


def test_aggregates_do_not_include_another_tenants_devices(
    fleet: list[Device], member: Callable[..., APIClient]
) -> None:
    foreign_device = DeviceFactory.create()

    assert aggregate(member(of=foreign_device.tenant)) == []
    with tenant_scope(foreign_device.tenant_id):
        assert not HourlyMetrics.objects.exists()
