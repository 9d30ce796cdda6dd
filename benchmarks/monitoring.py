"""Evaluate ten rules for 100,000 devices, and compute the overview of these devices."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from benchmarks.size import size
from devices.metrics.models import DeviceMetrics, LatestMetrics
from devices.metrics.services import partitions
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.services import evaluation, overview
from devices.registry.models import Device
from tenants.context import tenant_scope
from tenants.models import Tenant

DEVICES = size(100_000, quick=5_000)
SAMPLES = 12  # of each device
FAULTY_DEVICES = size(1_000, quick=50)  # they open an alert of each rule on a metric
RULES = (
    {"measure": "cpu_usage", "threshold": 90, "lasting_seconds": 900},
    {"measure": "ram_usage", "threshold": 85, "clear_threshold": 80},
    {"measure": "storage_usage", "threshold": 95},
    {"measure": "temperature", "threshold": 85, "lasting_seconds": 600},
    {"measure": "latency", "threshold": 500},
    {"measure": "signal_strength", "operator": "lt", "threshold": -85},
    {"measure": "is_connected", "operator": "lt", "threshold": 1},
    {"measure": "cpu_usage", "threshold": 97, "no_data": "open"},
    {"kind": "silence", "operator": "ge", "threshold": 5},
    {"kind": "certificate", "operator": "le", "threshold": 30},
)

INSERT_DEVICES = """
    INSERT INTO devices_device (id, tenant_id, name, model, status, last_seen,
        app_version, os_version, ip_address, registered_at)
    SELECT gen_random_uuid(), %s, 'TV-' || g, 'X96', 'online', %s,
        '2.1.0', '9', '10.0.0.1', now() - interval '30 days'
    FROM generate_series(1, %s) g
"""
INSERT_SAMPLES = f"""
    INSERT INTO {DeviceMetrics._meta.db_table} (tenant_id, device_id, recorded_at,
        received_at, cpu_usage, ram_usage, storage_usage, temperature, latency,
        signal_strength, is_connected)
    SELECT tenant_id, id, %(now)s - n * interval '5 minutes', %(now)s,
        CASE WHEN bad THEN 95 ELSE 20 END, CASE WHEN bad THEN 90 ELSE 40 END,
        CASE WHEN bad THEN 96 ELSE 40 END, CASE WHEN bad THEN 90 ELSE 50 END,
        CASE WHEN bad THEN 900 ELSE 20 END, CASE WHEN bad THEN -90 ELSE -50 END,
        CASE WHEN bad THEN 0 ELSE 1 END
    FROM (
        SELECT tenant_id, id, row_number() OVER () <= %(faulty)s AS bad
        FROM devices_device
    ) device CROSS JOIN generate_series(0, %(samples)s) n
"""
INSERT_LATEST = f"""
    INSERT INTO {LatestMetrics._meta.db_table} (tenant_id, device_id, recorded_at,
        received_at, cpu_usage, ram_usage, storage_usage, temperature, latency,
        signal_strength, is_connected)
    SELECT tenant_id, device_id, recorded_at, received_at, cpu_usage, ram_usage,
        storage_usage, temperature, latency, signal_strength, is_connected
    FROM {DeviceMetrics._meta.db_table} WHERE recorded_at = %s
"""
BARE_SELECT = f"SELECT device_id FROM {LatestMetrics._meta.db_table} WHERE {{}} AND tenant_id = %s"


def main() -> None:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    _insert_data(tenant, now)
    with tenant_scope(tenant.pk):
        for number, fields in enumerate(RULES):
            defaults = {"kind": "metric", "created_at": now, "name": f"Rule {number}"}
            MonitoringRule.objects.create(**{**defaults, **fields})
        bare_seconds = min(_measure(lambda: _run_bare_scans(tenant)) for _ in range(3))
        first_seconds = _measure(lambda: evaluation.evaluate_all(now=now))
        opened = Alert.objects.count()
        repeated_seconds = sorted(
            _measure(lambda: evaluation.evaluate_all(now=now)) for _ in range(3)
        )
        print(
            f"monitoring: {len(RULES)} rules over {DEVICES:,} devices: {first_seconds:.2f} s"
            f" with {opened:,} alerts opened, {repeated_seconds[1]:.2f} s with none"
            f" (target 5 s); ratio to ten bare scans {repeated_seconds[1] / bare_seconds:.1f}"
        )
        overview_seconds = sorted(_measure(lambda: overview.overview(now=now)) for _ in range(5))
    print(f"overview of {DEVICES:,} devices: {overview_seconds[2] * 1000:.0f} ms (target 100 ms)")


def _insert_data(tenant: Tenant, now: datetime) -> None:
    partitions.create_for([now, now - timedelta(hours=1)])
    with connection.cursor() as cursor:
        cursor.execute(INSERT_DEVICES, [tenant.pk, now, DEVICES])
        cursor.execute(
            INSERT_SAMPLES, {"now": now, "faulty": FAULTY_DEVICES, "samples": SAMPLES - 1}
        )
        cursor.execute(INSERT_LATEST, [now])
    for model in (Device, DeviceMetrics, LatestMetrics):
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM ANALYZE {model._meta.db_table}")


def _run_bare_scans(tenant: Tenant) -> None:
    conditions = ["cpu_usage > 90"] * 10
    with connection.cursor() as cursor:
        for condition in conditions:
            cursor.execute(BARE_SELECT.format(condition), [tenant.pk])
            cursor.fetchall()


def _measure(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
