"""A month of one device as an hourly chart, beside more and more samples of others.

`BENCH_SAMPLES` says how many, as 1000000,10000000; a hundred million take a quarter of
an hour and 40 GB.
"""

import os
import time
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from devices.metrics.admin.device_panel import DRAWN, charts
from devices.metrics.measures import MEASURE, MEASURES
from devices.metrics.models import ROLL_UPS, DeviceMetrics
from devices.metrics.services import history, partitions
from devices.metrics.services.history import Period
from devices.registry.models import Device
from tenants.context import tenant_scope
from tenants.models import Tenant

SIZES = os.environ.get("BENCH_SAMPLES", "1000000,10000000")
DAYS = 30
OF_A_DEVICE = DAYS * 288  # one every five minutes
REPEATS = 15

FLEET = """
    INSERT INTO devices_device (id, tenant_id, name, model, status, app_version,
        os_version, registered_at)
    SELECT gen_random_uuid(), %s, 'TV-' || g, 'X96', 'offline', '2.1.0', '9', now()
    FROM generate_series(%s + 1, %s) g
"""
SAMPLES = f"""
    INSERT INTO {DeviceMetrics._meta.db_table} (tenant_id, device_id, recorded_at,
        received_at, cpu_usage, ram_used_mb, ram_total_mb, ram_usage, storage_used_mb,
        storage_total_mb, storage_usage, temperature, network_type, signal_strength,
        latency, is_connected)
    SELECT tenant_id, id, %(start)s + n * interval '5 minutes', %(start)s,
        20 + 60 * random(), 900, 2048, 44, 4000, 8192, 49, 50 + 10 * random(), 'wifi',
        -60, 20 * random(), 1
    FROM generate_series(0, 287) n CROSS JOIN (
        SELECT tenant_id, id FROM devices_device ORDER BY registered_at DESC LIMIT %(new)s
    ) device
"""


def main() -> None:
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    end = timezone.now().replace(minute=0, second=0, microsecond=0)
    there = 0
    for size in map(int, SIZES.split(",")):
        devices = max(1, size // OF_A_DEVICE)
        begun = time.perf_counter()
        _grow(tenant, there, devices, end)
        there = devices
        spent = time.perf_counter() - begun
        print(f"history: {devices * OF_A_DEVICE:,} samples, made in {spent:.0f} s")
        _measure(tenant, end)


def _grow(tenant: Tenant, there: int, devices: int, end: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(FLEET, [tenant.pk, there, devices])
    for day in range(DAYS):
        start = end - timedelta(days=DAYS - day)
        partitions.make_for([start, start + timedelta(days=1)])
        with connection.cursor() as cursor:
            cursor.execute(SAMPLES, {"start": start, "new": devices - there})
    for bucket, model in ROLL_UPS.items():
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {model._meta.db_table}")
            cursor.execute(_rolled(bucket))
    tables = [Device._meta.db_table, DeviceMetrics._meta.db_table]
    tables += [model._meta.db_table for model in ROLL_UPS.values()]
    for table in tables:
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM ANALYZE {table}")


def _rolled(bucket: str) -> str:
    """The roll-ups of all samples at once, as ingest keeps them one by one."""
    names = [measure.name for measure in MEASURES]
    columns = [
        f"{name}_{part}" for name in names for part in ("count", "sum", "least", "most")
    ]
    made = [
        f"{aggregate}({name})"
        for name in names
        for aggregate in ("count", "sum", "min", "max")
    ]
    return f"""
        INSERT INTO {ROLL_UPS[bucket]._meta.db_table} (tenant_id, device_id, starts_at,
            app_version, samples, {", ".join(columns)})
        SELECT tenant_id, device_id, date_trunc('{bucket}', recorded_at, 'UTC'), '2.1.0',
            count(*), {", ".join(made)}
        FROM {DeviceMetrics._meta.db_table} GROUP BY 1, 2, 3 ORDER BY 3, 2
    """


def _measure(tenant: Tenant, end: datetime) -> None:
    with tenant_scope(tenant.pk):
        chosen = list(Device.objects.order_by("id")[:REPEATS])
        period = Period(start=end - timedelta(days=DAYS), end=end)
        one = [MEASURE["cpu_usage"]]
        hourly, page, bare = [], [], []
        for device in chosen:  # each for the first time: nothing of it was just read
            begun = time.perf_counter()
            rows = history.rolled_up(device, period, bucket="hour", measures=one)
            hourly.append(time.perf_counter() - begun)
            assert len(rows) in (DAYS * 24, DAYS * 24 + 1), len(rows)
            begun = time.perf_counter()
            charts(device, span="month", now=end)
            page.append(time.perf_counter() - begun)
            bare.append(_from_samples(device, period))
    middle = REPEATS // 2
    print(
        f"  a month as hourly chart {sorted(hourly)[middle] * 1000:.1f} ms (target 30 ms),"
        f" {len(DRAWN) + 1} charts as the portal draws them {sorted(page)[middle] * 1000:.0f} ms;"
        f" ratio to grouping the samples {sorted(hourly)[middle] / sorted(bare)[middle]:.2f}"
    )


def _from_samples(device: Device, period: Period) -> float:
    begun = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT date_trunc('hour', recorded_at, 'UTC'), avg(cpu_usage), min(cpu_usage),
                max(cpu_usage), percentile_cont(0.95) WITHIN GROUP (ORDER BY cpu_usage)
            FROM {DeviceMetrics._meta.db_table}
            WHERE device_id = %s AND recorded_at >= %s AND recorded_at < %s GROUP BY 1
            """,
            [device.pk, period.start, period.end],
        )
        cursor.fetchall()
    return time.perf_counter() - begun
