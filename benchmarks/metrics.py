"""`POST /devices/metrics`: samples stored per second, compared with a bare COPY."""

import io
import json
import random
import time
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from benchmarks import client
from benchmarks.fleet import create_devices
from benchmarks.size import size
from benchmarks.stage import web
from devices.metrics.measures import FIELDS
from devices.metrics.models import DailyMetrics, DeviceMetrics, HourlyMetrics

DEVICES = 400
BATCH = 50
BATCHES = size(8_000, quick=800)
SINGLES = size(10_000, quick=2_000)
CONNECTIONS = 16
SECONDS = size(12.0, quick=1.0)
PORT = 8978
INTERVAL = timedelta(minutes=5)


def main() -> None:
    device_tokens, now = create_devices(DEVICES), timezone.now()
    ratios = []
    for run in (1, 2, 3):
        end = now - run * timedelta(days=14)
        batches = [
            client.post("/devices/metrics", body, device_tokens[number % DEVICES])
            for number, body in enumerate(_batches(end))
        ]
        previous_count = DeviceMetrics.every_tenant.count()
        with web("provisioning.rsgi:app", PORT):
            client.run(PORT, batches[:64], connections=CONNECTIONS, seconds=1)
            result = client.run(PORT, batches[64:], connections=CONNECTIONS, seconds=SECONDS)
        stored = DeviceMetrics.every_tenant.count() - previous_count
        rate = min(BATCH * result.rate, stored / result.seconds)
        copy_rate = _measure_copy()
        ratios.append(rate / copy_rate)
        print(
            f"metrics in batches of {BATCH}, run {run}: {rate:,.0f} samples/s,"
            f" p50 {result.percentile(0.5):.1f} ms, p99 {result.percentile(0.99):.1f} ms,"
            f" {result.failed} failed; bare COPY {copy_rate:,.0f}/s; ratio {ratios[-1]:.3f}"
        )
    print(
        f"metrics: median ratio to COPY {sorted(ratios)[1]:.3f}"
        " (target 8,000 samples/s, roll-ups included)"
    )
    _check_roll_ups()
    single_requests = [
        client.post("/devices/metrics", body, device_tokens[number % DEVICES])
        for number, body in enumerate(_single_samples(now))
    ]
    with web("provisioning.rsgi:app", PORT):
        client.run(PORT, single_requests[:64], connections=CONNECTIONS, seconds=1)
        result = client.run(PORT, single_requests[64:], connections=CONNECTIONS, seconds=SECONDS)
    print(
        f"metrics one by one: {result.rate:,.0f}/s, p50 {result.percentile(0.5):.1f} ms,"
        f" p99 {result.percentile(0.99):.1f} ms, {result.failed} failed (target 500/s)"
    )


def sample(recorded_at: datetime, generator: random.Random) -> dict[str, Any]:
    """Return a sample as a device reports it."""
    return {
        "recorded_at": recorded_at.isoformat(),
        "cpu_usage": round(generator.uniform(5, 70), 1),
        "ram_used_mb": generator.randint(700, 1500),
        "ram_total_mb": 2048,
        "storage_used_mb": generator.randint(3000, 5000),
        "storage_total_mb": 8192,
        "temperature": round(generator.uniform(40, 70), 1),
        "network": {
            "type": "wifi",
            "ssid": "signage",
            "signal_strength": generator.randint(-80, -40),
            "latency": round(generator.uniform(5, 120), 1),
        },
        "running_apps": ["com.btmanagement.player", "com.android.settings"],
        "screen": {"is_on": True, "brightness": 200},
    }


def _batches(end: datetime) -> list[bytes]:
    """Return request bodies. Each body has a device's samples of a little over four hours."""
    generator = random.Random(7)
    bodies = []
    for number in range(BATCHES):
        start = end + (number // DEVICES) * BATCH * INTERVAL
        start += timedelta(milliseconds=number)
        rows = [sample(start + INTERVAL * row, generator) for row in range(BATCH)]
        bodies.append(json.dumps({"samples": rows}).encode())
    return bodies


def _single_samples(now: datetime) -> list[bytes]:
    generator = random.Random(8)
    start = now - timedelta(days=2)
    return [
        json.dumps(sample(start + INTERVAL * (number // DEVICES), generator)).encode()
        for number in range(SINGLES)
    ]


def _measure_copy() -> float:
    """Return the rows per second that COPY writes into an empty copy of the samples table."""
    table = DeviceMetrics._meta.db_table
    columns = ", ".join(field.column for field in FIELDS)
    columns = f"tenant_id, device_id, recorded_at, received_at, {columns}"
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bare_samples")
        cursor.execute(f"CREATE TABLE bare_samples (LIKE {table} INCLUDING ALL)")
        cursor.execute("SET provisioning.scope = '*'")
        text = io.StringIO()
        cursor.copy_expert(f"COPY (SELECT {columns} FROM {table} LIMIT 100000) TO STDOUT", text)
        rows = text.getvalue().count("\n")
        text.seek(0)
        started = time.perf_counter()
        cursor.copy_expert(f"COPY bare_samples ({columns}) FROM STDIN", text)
        return rows / (time.perf_counter() - started)


def _check_roll_ups() -> None:
    """Check that every sample is counted once in the hourly and daily roll-ups."""
    stored = DeviceMetrics.every_tenant.count()
    for model in (HourlyMetrics, DailyMetrics):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT sum(samples) FROM {model._meta.db_table}")
            rolled_up = cursor.fetchone()[0]
        assert rolled_up == stored, (model, rolled_up, stored)
