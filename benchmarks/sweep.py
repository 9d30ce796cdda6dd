"""Measure the sweep, the task that marks silent devices among a million devices as offline.

The sweep is compared with bare SQL that writes the same rows.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from benchmarks.size import size
from devices.registry.services import presence
from tenants.models import Tenant

DEVICES = size(1_000_000, quick=20_000)
SILENT = size(10_000, quick=500)
THRESHOLD = timedelta(minutes=5)

INSERT_DEVICES = """
    INSERT INTO devices_device (id, tenant_id, name, model, status, last_seen,
        app_version, os_version, ip_address, registered_at)
    SELECT gen_random_uuid(), %s, 'TV-' || g, 'X96', 'online', now(),
        '2.1.0', '9', '10.0.0.1', now()
    FROM generate_series(1, %s) g
"""
MAKE_SILENT = """
    UPDATE devices_device SET last_seen = now() - interval '1 hour', status = 'online'
    WHERE id IN (SELECT id FROM devices_device ORDER BY id LIMIT %s)
"""
BARE_UPDATE = """
    UPDATE devices_device SET status = 'offline'
    WHERE status = 'online' AND last_seen < now() - interval '5 minutes'
    RETURNING id, tenant_id, last_seen
"""
BARE_INSERT_EVENTS = """
    INSERT INTO events_event (tenant_id, name, device_id, at, caller_kind, caller_id,
        caller_name, request_id, data, changes)
    SELECT tenant_id, 'device.status_changed', id, now(), 'system', '', '', '',
        jsonb_build_object('status', 'offline', 'last_seen', last_seen),
        jsonb_build_object('status', jsonb_build_array('online', 'offline'))
    FROM devices_device WHERE status = 'offline' AND last_seen < now() - interval '5 minutes'
"""


def main() -> None:
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    _execute(INSERT_DEVICES, tenant.pk, DEVICES)
    _execute("VACUUM ANALYZE devices_device")
    print(f"{DEVICES:,} devices, {SILENT:,} of them silent")
    ratios = []
    for run in (1, 2, 3):
        bare_seconds, sweep_seconds = (
            _measure_with_silent_devices(_bare_sweep),
            _measure_with_silent_devices(_sweep),
        )
        ratios.append(sweep_seconds / bare_seconds)
        print(
            f"sweep, run {run}: {sweep_seconds * 1000:,.0f} ms; bare {bare_seconds * 1000:,.0f} ms;"
            f" ratio {ratios[-1]:.2f}"
        )
    print(f"sweep: median ratio {sorted(ratios)[1]:.2f} (target at most 3)")
    idle_seconds = sorted(_measure(_sweep) for _ in range(5))[2]
    print(f"sweep with none silent: {idle_seconds * 1000:,.0f} ms (target at most 300)")


def _measure_with_silent_devices(function: Callable[[], None]) -> float:
    _execute(MAKE_SILENT, SILENT)
    _execute("VACUUM ANALYZE devices_device")
    return _measure(function)


def _measure(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _sweep() -> None:
    presence.sweep(now=timezone.now(), threshold=THRESHOLD)


@transaction.atomic
def _bare_sweep() -> None:
    with connection.cursor() as cursor:
        cursor.execute(BARE_UPDATE)
        cursor.fetchall()
        cursor.execute(BARE_INSERT_EVENTS)


def _execute(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
