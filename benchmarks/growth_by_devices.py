"""How costs grow with the number of devices of one tenant.

An operation that looks at each device may cost as much per device as with few of them. A list
should cost the same with any number.
"""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from benchmarks import sweep
from benchmarks.growth_by_tenants import INSERT_DEVICES
from benchmarks.million import INSERT_IDENTIFIERS, member_client
from benchmarks.monitoring import INSERT_LATEST, INSERT_SAMPLES, RULES
from benchmarks.size import is_full, size
from benchmarks.stage import reset_data
from devices.metrics.models import DeviceMetrics, LatestMetrics
from devices.metrics.services import partitions
from devices.monitoring.models import MonitoringRule
from devices.monitoring.services import evaluation
from devices.registry.models import Device, DeviceIdentifier
from devices.registry.services import presence
from provisioning.observability import DatabaseCollector
from tenants.models import Tenant

DEVICES = size((10_000, 100_000, 1_000_000), quick=(1_000, 10_000))
SILENT = size(10_000, quick=1_000)


def main() -> None:
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.ALLOWED_HOSTS = ["*"]
    first: dict[str, float] = {}
    for devices in (*DEVICES, *((3_000_000,) if is_full() else ())):
        reset_data()
        tenant = _create(devices)
        for name, seconds in _measure_all(tenant):
            ratio = seconds / first.setdefault(name, seconds)
            print(
                f"growth: {devices:,} devices: {name}: {seconds * 1000:,.0f} ms;"
                f" ratio to {DEVICES[0]:,} devices {ratio:.1f}"
            )
    if is_full():
        _sweep_ten_million()


def _create(devices: int) -> Tenant:
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    partitions.create_for([now])
    _execute(INSERT_DEVICES, [now, devices, 1])
    _execute(INSERT_SAMPLES, {"now": now, "faulty": 0, "samples": 0})
    _execute(INSERT_LATEST, [now])
    MonitoringRule.every_tenant.bulk_create(
        MonitoringRule(
            **{
                "tenant_id": tenant.pk,
                "kind": "metric",
                "created_at": now,
                "name": f"Rule {number}",
                **fields,
            }
        )
        for number, fields in enumerate(RULES)
    )
    _execute(INSERT_IDENTIFIERS)
    for model in (DeviceIdentifier, Device, DeviceMetrics, LatestMetrics, MonitoringRule):
        _execute(f"VACUUM ANALYZE {model._meta.db_table}")
    return tenant


def _measure_all(tenant: Tenant) -> Iterator[tuple[str, float]]:
    """Yield names of operations and their seconds."""
    client = member_client(tenant)
    now = timezone.now()
    for name, path in (
        ("first page", "/devices"),
        ("search without a hit", "/devices?search=no-such-device"),
        ("retired devices", "/devices?status=retired"),
        ("overview", "/devices/stats/overview"),
    ):
        yield name, _median(partial(_get, client, path))
    yield "figures of /metrics", _median(lambda: list(DatabaseCollector().collect()))
    yield "ten rules, no alert opens", _median(lambda: evaluation.evaluate_all(now=now))
    yield "sweep, none silent", _median(_sweep)
    _execute(sweep.MAKE_SILENT, [SILENT])
    yield f"sweep, {SILENT:,} silent", _seconds(_sweep)


def _sweep_ten_million() -> None:
    reset_data()
    now = timezone.now()
    Tenant.objects.create(slug="bench", name="Bench")
    for _ in range(10):
        _execute(INSERT_DEVICES, [now + timedelta(hours=1), 1_000_000, 1])
    _execute(f"VACUUM ANALYZE {Device._meta.db_table}")
    _execute(sweep.MAKE_SILENT, [SILENT])
    print(f"growth: 10,000,000 devices: sweep, {SILENT:,} silent: {_seconds(_sweep):.2f} s")
    print(f"growth: 10,000,000 devices: sweep, none silent: {_seconds(_sweep):.2f} s")


def _sweep() -> None:
    presence.sweep(now=timezone.now(), threshold=timedelta(minutes=5))


def _get(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


def _median(function: Callable[[], Any]) -> float:
    return sorted(_seconds(function) for _ in range(5))[2]


def _seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _execute(sql: str, values: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
