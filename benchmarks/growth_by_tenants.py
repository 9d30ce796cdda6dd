"""How costs grow with the number of tenants, at the same number of devices.

With 1,000 tenants, an operation should cost at most 1.2 times what it costs with one.
"""

import json
import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from benchmarks import client, light_load
from benchmarks.fleet import create_devices
from benchmarks.metrics import sample
from benchmarks.monitoring import INSERT_LATEST, INSERT_SAMPLES, RULES, SAMPLES
from benchmarks.size import size
from benchmarks.stage import reset_data, web
from devices.metrics.models import DeviceMetrics, LatestMetrics
from devices.metrics.services import partitions
from devices.monitoring.models import MonitoringRule
from devices.monitoring.services import evaluation
from devices.registry.models import Device
from events import queries
from events.models import Channel, Event
from events.services.fan_out import fan_out
from tenants.models import Tenant

INSERT_MESSAGES = """
    INSERT INTO events_channeldelivery (tenant_id, channel_id, event_id, name, device_id,
        created_at, due_at, attempts, log)
    SELECT channel.tenant_id, channel.id, g, 'alert.opened', gen_random_uuid(), %s, %s, 0, '[]'
    FROM generate_series(1, %s) g
    JOIN (
        SELECT tenant_id, id, row_number() OVER () - 1 AS place, count(*) OVER () AS count
        FROM events_channel
    ) channel ON channel.place = g %% channel.count
"""
DEVICES = size(100_000, quick=5_000)
TENANTS = size((1, 100, 1_000), quick=(1, 50))
FAULTY_DEVICES = size(1_000, quick=50)  # they open an alert of each rule on a metric
EVENTS, CHANNELS, BACKLOG, LEASES = size(20_000, quick=1_000), 5, size(400_000, quick=10_000), 10
REPORTING = size(20_000, quick=2_000)  # devices that connect and send samples
CONNECTIONS, SECONDS = 128, size(8.0, quick=1.0)
PORT = 8974

INSERT_DEVICES = """
    INSERT INTO devices_device (id, tenant_id, name, model, status, last_seen,
        app_version, os_version, ip_address, registered_at)
    SELECT gen_random_uuid(), tenant.id, 'TV-' || g, 'X96', 'online', %s,
        '2.1.0', '9', '10.0.0.1', now() - interval '30 days'
    FROM generate_series(1, %s) g
    JOIN (
        SELECT id, row_number() OVER (ORDER BY id) AS place FROM tenants_tenant
    ) tenant ON tenant.place = 1 + g %% %s
"""


def main() -> None:
    of_one: dict[str, float] = {}
    for tenants in TENANTS:
        reset_data()
        now = timezone.now()
        _create(tenants, now)
        for name, seconds in (*_measure_all(now), *_measure_requests(tenants)):
            ratio = seconds / of_one.setdefault(name, seconds)
            print(
                f"growth: {tenants:,} tenants: {name}: {seconds:.2f} s;"
                f" ratio to one tenant {ratio:.1f} (target at most 1.2)"
            )


def _measure_all(now: datetime) -> Iterator[tuple[str, float]]:
    """Yield names of operations and their seconds."""
    yield (
        f"{len(RULES)} rules of each tenant, {FAULTY_DEVICES:,} devices violate them",
        _evaluate(now),
    )
    yield "the same rules, no alert opens", sorted(_evaluate(now) for _ in range(3))[1]
    yield f"{EVENTS:,} events, {CHANNELS} channels of each tenant", _fan_out(now)
    yield f"{LEASES} leases from {BACKLOG:,} messages to webhooks", _lease(now)


def _measure_requests(tenants: int) -> Iterator[tuple[str, float]]:
    """Yield names of requests of devices, and the seconds for 10,000 of them."""
    reset_data()
    devices = create_devices(REPORTING, tenants=tenants)
    recorded = timezone.now() - timedelta(minutes=40)
    body = b'{"app_version": "2.1.0", "os_version": "9"}'
    connects = [client.post("/devices/connect", body, token) for token in devices]
    samples = [
        client.post(
            "/devices/metrics",
            json.dumps(sample(recorded + round_ * timedelta(minutes=1), Random(0))).encode(),
            token,
        )
        for round_ in range(5)
        for token in devices
    ]
    os.environ |= {"RATE_TENANT": "off", "RATE_TENANT_SAMPLES": "off"}  # all load is of one tenant
    for name, requests in (("connects", connects), ("samples, one by one", samples)):
        with web("provisioning.rsgi:app", PORT):
            light_load.run(PORT, requests[::-1], connections=CONNECTIONS, seconds=SECONDS / 4)
            result = light_load.run(PORT, requests, connections=CONNECTIONS, seconds=SECONDS)
        assert result.failed == 0
        yield f"10,000 {name}", 10_000 / result.rate


def _create(tenants: int, now: datetime) -> None:
    Tenant.objects.bulk_create(
        Tenant(slug=f"bench-{number}", name="Bench") for number in range(tenants)
    )
    partitions.create_for([now])
    _execute(INSERT_DEVICES, [now, DEVICES, tenants])
    _execute(INSERT_SAMPLES, {"now": now, "faulty": FAULTY_DEVICES, "samples": SAMPLES - 1})
    _execute(INSERT_LATEST, [now])
    MonitoringRule.every_tenant.bulk_create(
        MonitoringRule(
            **{
                "tenant_id": tenant_id,
                "kind": "metric",
                "created_at": now,
                "name": f"Rule {number}",
                **fields,
            }
        )
        for tenant_id in Tenant.objects.values_list("pk", flat=True)
        for number, fields in enumerate(RULES)
    )
    for model in (Device, DeviceMetrics, LatestMetrics, MonitoringRule):
        _execute(f"VACUUM ANALYZE {model._meta.db_table}")


def _evaluate(now: datetime) -> float:
    """Evaluate the rules of all tenants in one process.

    Returns:
        The seconds that it took.
    """
    started = time.perf_counter()
    evaluation.evaluate_all(now=now)
    return time.perf_counter() - started


def _fan_out(now: datetime) -> float:
    """Compare many events, one of each device, with the filters of channels. No event matches."""
    Channel.every_tenant.bulk_create(
        Channel(
            tenant_id=tenant_id,
            name=f"Channel {number}",
            kind=Channel.Kind.WEBHOOK,
            url="https://192.0.2.1/",
            created_at=now,
        )
        for tenant_id in Tenant.objects.values_list("pk", flat=True)
        for number in range(CHANNELS)
    )
    devices = Device.every_tenant.order_by("id").values_list("tenant_id", "pk")[:EVENTS]
    events = Event.every_tenant.bulk_create(
        Event(
            tenant_id=tenant_id,
            device_id=pk,
            name="device.status_changed",
            at=now,
            data={},
            changes={},
        )
        for tenant_id, pk in devices
    )
    started = time.perf_counter()
    with transaction.atomic():
        fan_out(events)
    return time.perf_counter() - started


def _lease(now: datetime) -> float:
    """Lease messages from a backlog."""
    _execute(INSERT_MESSAGES, [now, now, BACKLOG])
    _execute("VACUUM ANALYZE events_channeldelivery")
    started = time.perf_counter()
    for _ in range(LEASES):
        queries.due_messages(now=now, most_of_channel=32, most=128)
    return time.perf_counter() - started


def _execute(sql: str, values: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
