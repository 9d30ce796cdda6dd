"""Measure an hourly chart of one device over a month, in tables of growing size.

`BENCH_SAMPLES` sets the table sizes, for example 1000000,10000000. A hundred million
samples take a quarter of an hour and 40 GB.
"""

import os
import time
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from benchmarks.size import size
from devices.metrics.admin.device_panel import CHART_MEASURES, SPANS, charts
from devices.metrics.measures import MEASURE, MEASURES
from devices.metrics.models import ROLL_UPS, DeviceMetrics
from devices.metrics.services import history, partitions
from devices.metrics.services.history import Period
from devices.registry.models import Device
from tenants.context import tenant_scope
from tenants.models import Tenant

SIZES = os.environ.get("BENCH_SAMPLES", size("1000000,10000000", quick="200000"))
DAYS = 30
SAMPLES_PER_DEVICE = DAYS * 288  # one every five minutes
REPEATS = 15

INSERT_DEVICES = """
    INSERT INTO devices_device (id, tenant_id, name, model, status, app_version,
        os_version, registered_at)
    SELECT gen_random_uuid(), %s, 'TV-' || g, 'X96', 'offline', '2.1.0', '9', now()
    FROM generate_series(%s + 1, %s) g
"""
INSERT_SAMPLES = f"""
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
    existing = 0
    for samples in map(int, SIZES.split(",")):
        devices = max(1, samples // SAMPLES_PER_DEVICE)
        started = time.perf_counter()
        _add_devices(tenant, existing, devices, end)
        existing = devices
        seconds = time.perf_counter() - started
        print(f"history: {devices * SAMPLES_PER_DEVICE:,} samples, inserted in {seconds:.0f} s")
        _measure_charts(tenant, end)


def _add_devices(tenant: Tenant, existing: int, devices: int, end: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(INSERT_DEVICES, [tenant.pk, existing, devices])
    for day in range(DAYS):
        start = end - timedelta(days=DAYS - day)
        partitions.create_for([start, start + timedelta(days=1)])
        with connection.cursor() as cursor:
            cursor.execute(INSERT_SAMPLES, {"start": start, "new": devices - existing})
    for bucket, model in ROLL_UPS.items():
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {model._meta.db_table}")
            cursor.execute(_roll_up_statement(bucket))
    tables = [Device._meta.db_table, DeviceMetrics._meta.db_table]
    tables += [model._meta.db_table for model in ROLL_UPS.values()]
    for table in tables:
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM ANALYZE {table}")


def _roll_up_statement(bucket: str) -> str:
    """Return the statement that rolls up all samples. Ingestion rolls up each sample itself."""
    names = [measure.name for measure in MEASURES]
    columns = [f"{name}_{suffix}" for name in names for suffix in ("count", "sum", "least", "most")]
    aggregates = [
        f"{aggregate}({name})" for name in names for aggregate in ("count", "sum", "min", "max")
    ]
    return f"""
        INSERT INTO {ROLL_UPS[bucket]._meta.db_table} (tenant_id, device_id, starts_at,
            app_version, newest_at, samples, {", ".join(columns)})
        SELECT tenant_id, device_id, date_trunc('{bucket}', recorded_at, 'UTC'), '2.1.0',
            max(recorded_at), count(*), {", ".join(aggregates)}
        FROM {DeviceMetrics._meta.db_table} GROUP BY 1, 2, 3 ORDER BY 3, 2
    """


def _measure_charts(tenant: Tenant, end: datetime) -> None:
    with tenant_scope(tenant.pk):
        devices = list(Device.objects.order_by("id")[:REPEATS])
        period = Period(start=end - timedelta(days=DAYS), end=end)
        measures = [MEASURE["cpu_usage"]]
        chart_times, panel_times, bare_times = [], [], []
        for device in devices:  # each device only once, so that its rows are not cached
            started = time.perf_counter()
            rows = history.roll_ups(device, period, bucket="hour", measures=measures)
            chart_times.append(time.perf_counter() - started)
            assert len(rows) in (DAYS * 24, DAYS * 24 + 1), len(rows)
            started = time.perf_counter()
            charts(device, Period(start=end - SPANS["month"], end=end))
            panel_times.append(time.perf_counter() - started)
            bare_times.append(_measure_samples_query(device, period))
    median = REPEATS // 2
    print(
        f"  hourly chart of a month {sorted(chart_times)[median] * 1000:.1f} ms (target 30 ms),"
        f" {len(CHART_MEASURES) + 1} charts as the portal draws them {sorted(panel_times)[median] * 1000:.0f} ms;"
        f" ratio to grouping the samples {sorted(chart_times)[median] / sorted(bare_times)[median]:.2f}"
    )


def _measure_samples_query(device: Device, period: Period) -> float:
    started = time.perf_counter()
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
    return time.perf_counter() - started
