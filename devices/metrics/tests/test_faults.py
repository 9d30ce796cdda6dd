"""The database stumbles: it is tried again, or the device is told to keep its samples."""

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
    """Beside Django's, as another process would have it."""
    said = connection.get_connection_params()
    said.pop("cursor_factory", None)
    other = psycopg2.connect(**said)
    with other.cursor() as cursor:
        cursor.execute("SET provisioning.scope = '*'")
    other.commit()
    return other


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("pieces_dropped")
def test_a_deadlock_is_tried_again_until_it_is_stored() -> None:
    device = DeviceFactory.create(status="online", last_seen=NOW)
    report(device, at(NOW - timedelta(minutes=5)), now=NOW)
    other = another_connection()

    def cross() -> None:
        with other.cursor() as cursor:  # waits for the device, which waits for us
            cursor.execute(
                "UPDATE devices_device SET name = name WHERE id = %s", [str(device.pk)]
            )
        other.commit()

    with other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM metrics_latestmetrics FOR UPDATE")
    crossing = threading.Timer(0.4, cross)
    crossing.start()

    outcome = report(device, at(NOW), now=NOW)

    crossing.join()
    assert outcome.stored == 1
    other.close()
    assert DeviceMetrics.every_tenant.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("pieces_dropped")
def test_a_lost_connection_is_made_anew() -> None:
    device = DeviceFactory.create(status="online", last_seen=NOW)
    connection.ensure_connection()
    other = another_connection()
    with other.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid]
        )
    other.close()

    assert report(device, at(NOW), now=NOW).stored == 1


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["53100", "25006"], ids=["full", "read-only"])
def test_a_full_database_tells_the_device_to_keep_its_samples(
    device: Device, as_device: Callable[[Device], APIClient], state: str
) -> None:
    box = as_device(device)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '{state}'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER no_room BEFORE INSERT ON metrics_latestmetrics"
            " FOR EACH STATEMENT EXECUTE FUNCTION is_full()"
        )

    box.raise_request_exception = False
    answer = box.post("/devices/metrics", {"cpu_usage": 1})

    assert answer.status_code == 503
    assert answer["Retry-After"] == "60"
    assert answer.json()["errors"][0]["code"] == "samples_not_stored"
    assert not DeviceMetrics.every_tenant.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("pieces_dropped")
def test_many_at_once_into_days_that_have_no_pieces_yet_store_every_sample_once() -> (
    None
):
    start = NOW - timedelta(days=70)
    devices = DeviceFactory.create_batch(4, status="online", last_seen=NOW)

    def send(number: int) -> int:
        with every_tenant_scope():
            try:
                first = start + timedelta(hours=number // 4)  # overlaps with the next
                samples = every_five_minutes(first, [1.0] * 50)
                return report(devices[number % 4], *samples, now=NOW).stored
            finally:
                connection.close()

    with ThreadPoolExecutor(16) as pool:
        stored = list(pool.map(send, range(160)))

    assert sum(stored) == DeviceMetrics.every_tenant.count() == 4 * (39 * 12 + 50)
    for model in (HourlyMetrics, DailyMetrics):
        assert sum(model.every_tenant.values_list("samples", flat=True)) == sum(stored)
