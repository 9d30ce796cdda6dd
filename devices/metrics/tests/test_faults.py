"""Ingestion during database errors: retries, and the 503 response to the device."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from django.db import connection
from rest_framework.test import APIClient

from devices.metrics.models import DailyMetrics, DeviceMetrics, HourlyMetrics
from devices.metrics.tests.reporting import at, every_five_minutes, report
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from tenants.context import every_tenant_scope

NOW = datetime.now(UTC).replace(microsecond=0)


def another_connection() -> Any:
    """Return a second database connection, as another process would have."""
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    other = psycopg2.connect(**parameters)
    with other.cursor() as cursor:
        cursor.execute("SET provisioning.scope = '*'")
    other.commit()
    return other


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("partitions_dropped")
def test_a_sample_is_stored_after_a_deadlock() -> None:
    device = DeviceFactory.create(status="online", last_seen=NOW)
    report(device, at(NOW - timedelta(minutes=5)), now=NOW)
    other = another_connection()

    def lock_device_row() -> None:
        with other.cursor() as cursor:  # waits for the ingest, which waits for `other`
            cursor.execute("UPDATE devices_device SET name = name WHERE id = %s", [str(device.pk)])
        other.commit()

    with other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM metrics_latestmetrics FOR UPDATE")
    timer = threading.Timer(0.4, lock_device_row)
    timer.start()

    outcome = report(device, at(NOW), now=NOW)

    timer.join()
    assert outcome.stored == 1
    other.close()
    assert DeviceMetrics.every_tenant.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("partitions_dropped")
def test_a_sample_is_stored_after_a_lost_connection() -> None:
    device = DeviceFactory.create(status="online", last_seen=NOW)
    connection.ensure_connection()
    other = another_connection()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    other.close()

    assert report(device, at(NOW), now=NOW).stored == 1


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["53100", "25006"], ids=["full", "read-only"])
def test_a_full_or_read_only_database_answers_503_with_retry_after(
    device: Device, as_device: Callable[[Device], APIClient], state: str
) -> None:
    client = as_device(device)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '{state}'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER disk_full BEFORE INSERT ON metrics_latestmetrics"
            " FOR EACH STATEMENT EXECUTE FUNCTION is_full()"
        )

    client.raise_request_exception = False
    response = client.post("/devices/metrics", {"cpu_usage": 1})

    assert response.status_code == 503
    assert response["Retry-After"] == "60"
    assert response.json()["errors"][0]["code"] == "samples_not_stored"
    assert not DeviceMetrics.every_tenant.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("partitions_dropped")
def test_concurrent_requests_for_missing_partitions_store_every_sample_once() -> None:
    start = NOW - timedelta(days=70)
    devices = DeviceFactory.create_batch(4, status="online", last_seen=NOW)

    def send(number: int) -> int:
        with every_tenant_scope():
            try:
                # Each request of a device overlaps with its next one.
                first = start + timedelta(hours=number // 4)
                samples = every_five_minutes(first, [1.0] * 50)
                return report(devices[number % 4], *samples, now=NOW).stored
            finally:
                connection.close()

    with ThreadPoolExecutor(16) as pool:
        stored = list(pool.map(send, range(160)))

    assert sum(stored) == DeviceMetrics.every_tenant.count() == 4 * (39 * 12 + 50)
    for model in (HourlyMetrics, DailyMetrics):
        assert sum(model.every_tenant.values_list("samples", flat=True)) == sum(stored)
