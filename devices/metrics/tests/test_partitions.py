"""Tests of partitions: creation on demand and ahead of time, removal, tenant isolation."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from devices.metrics.models import DailyMetrics, DeviceMetrics, HourlyMetrics
from devices.metrics.services import partitions, retention
from devices.metrics.services.partitions import SAMPLES
from devices.metrics.tests.reporting import at, report
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from tenants.context import tenant_scope

NOW = datetime(2035, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def partition_names() -> list[str]:
    return [partition.name for partition in partitions._partitions(SAMPLES)]


@pytest.mark.django_db
def test_storing_a_sample_creates_its_missing_partition(device: Device) -> None:
    assert report(device, at(NOW - 3 * DAY), at(NOW), now=NOW).stored == 2

    assert {"metrics_devicemetrics_20350226", "metrics_devicemetrics_20350301"} <= set(
        partition_names()
    )


@pytest.mark.django_db
def test_partitions_for_coming_days_and_late_samples_are_created_once() -> None:
    missing = partitions.create_ahead(now=NOW)

    assert missing == 94 + 2 * 4  # retention and three days; four months of each roll-up
    assert f"metrics_devicemetrics_{NOW + 3 * DAY:%Y%m%d}" in partition_names()
    assert partitions.create_ahead(now=NOW) == 0


@pytest.mark.django_db
def test_row_level_security_applies_to_each_partition() -> None:
    first, second = DeviceFactory.create(), DeviceFactory.create()
    report(first, at(NOW), now=NOW)
    report(second, at(NOW), now=NOW)

    with tenant_scope(first.tenant_id), connection.cursor() as cursor:
        for table in ("metrics_devicemetrics", "metrics_devicemetrics_20350301"):
            cursor.execute(f"SELECT device_id FROM {table}")
            assert cursor.fetchall() == [(first.pk,)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("partitions_dropped")
def test_expired_partitions_are_dropped_and_roll_ups_are_kept_longer() -> None:
    device = DeviceFactory.create()
    old = NOW - 89 * DAY
    report(device, at(old, cpu_usage=5), at(NOW), now=NOW)

    dropped = retention.drop_expired(now=NOW + 3 * DAY)

    assert f"metrics_devicemetrics_{old:%Y%m%d}" in dropped
    assert DeviceMetrics.every_tenant.get().recorded_at == NOW
    percentiles = HourlyMetrics.every_tenant.values_list("cpu_usage_p95", flat=True)
    assert percentiles.get(starts_at=old) == 5  # computed before the samples were dropped
    retention.drop_expired(now=NOW + 2000 * DAY)
    assert not DailyMetrics.every_tenant.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("partitions_dropped")
def test_a_partition_that_a_crash_left_detached_is_dropped_later() -> None:
    partitions.create_for([NOW])
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE metrics_devicemetrics DETACH PARTITION metrics_devicemetrics_20350301"
        )

    partitions.drop_expired(SAMPLES, before=NOW + 2 * DAY)

    assert "metrics_devicemetrics_20350301" not in partition_names()
