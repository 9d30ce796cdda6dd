"""`POST /devices/metrics`: samples stored a second, against a bare COPY of the same rows."""

import io
import json
import random
import time
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from benchmarks import load
from benchmarks.connect import fleet
from benchmarks.stage import web
from devices.metrics.measures import FIELDS
from devices.metrics.models import DailyMetrics, DeviceMetrics, HourlyMetrics

DEVICES = 400
BATCH = 50
BATCHES = 8_000
SINGLES = 10_000
CONNECTIONS = 16
SECONDS = 12.0
PORT = 8978
INTERVAL = timedelta(minutes=5)


def main() -> None:
    secrets, now = fleet(DEVICES), timezone.now()
    ratios = []
    for turn in (1, 2, 3):
        end = now - turn * timedelta(days=14)
        batches = [
            load.post("/devices/metrics", body, secrets[number % DEVICES])
            for number, body in enumerate(_batches(end))
        ]
        before = DeviceMetrics.every_tenant.count()
        with web("provisioning.rsgi:app", PORT):
            load.run(PORT, batches[:64], connections=CONNECTIONS, seconds=1)
            figures = load.run(
                PORT, batches[64:], connections=CONNECTIONS, seconds=SECONDS
            )
        kept = DeviceMetrics.every_tenant.count() - before
        rate = min(BATCH * figures.rate, kept / figures.seconds)
        bare = _copied()
        ratios.append(rate / bare)
        print(
            f"metrics in batches of {BATCH}, {turn}: {rate:,.0f} samples/s,"
            f" p50 {figures.percentile(0.5):.1f} ms, p99 {figures.percentile(0.99):.1f} ms,"
            f" {figures.failed} failed; bare COPY {bare:,.0f}/s; ratio {ratios[-1]:.3f}"
        )
    print(
        f"metrics: median ratio to COPY {sorted(ratios)[1]:.3f}"
        " (target 8,000 samples/s, roll-ups included)"
    )
    _check()
    singles = [
        load.post("/devices/metrics", body, secrets[number % DEVICES])
        for number, body in enumerate(_singles(now))
    ]
    with web("provisioning.rsgi:app", PORT):
        load.run(PORT, singles[:64], connections=CONNECTIONS, seconds=1)
        figures = load.run(PORT, singles[64:], connections=CONNECTIONS, seconds=SECONDS)
    print(
        f"metrics one by one: {figures.rate:,.0f}/s, p50 {figures.percentile(0.5):.1f} ms,"
        f" p99 {figures.percentile(0.99):.1f} ms, {figures.failed} failed (target 500/s)"
    )


def sample(recorded_at: datetime, chance: random.Random) -> dict[str, Any]:
    """As a box would report it."""
    return {
        "recorded_at": recorded_at.isoformat(),
        "cpu_usage": round(chance.uniform(5, 70), 1),
        "ram_used_mb": chance.randint(700, 1500),
        "ram_total_mb": 2048,
        "storage_used_mb": chance.randint(3000, 5000),
        "storage_total_mb": 8192,
        "temperature": round(chance.uniform(40, 70), 1),
        "network": {
            "type": "wifi",
            "ssid": "signage",
            "signal_strength": chance.randint(-80, -40),
            "latency": round(chance.uniform(5, 120), 1),
        },
        "running_apps": ["com.btmanagement.player", "com.android.settings"],
        "screen": {"is_on": True, "brightness": 200},
    }


def _batches(end: datetime) -> list[bytes]:
    """For each device in turn the samples of a little more than four hours."""
    chance = random.Random(7)
    bodies = []
    for number in range(BATCHES):
        first = end + (number // DEVICES) * BATCH * INTERVAL
        first += timedelta(milliseconds=number)
        rows = [sample(first + INTERVAL * row, chance) for row in range(BATCH)]
        bodies.append(json.dumps({"samples": rows}).encode())
    return bodies


def _singles(now: datetime) -> list[bytes]:
    chance = random.Random(8)
    first = now - timedelta(days=2)
    return [
        json.dumps(sample(first + INTERVAL * (number // DEVICES), chance)).encode()
        for number in range(SINGLES)
    ]


def _copied() -> float:
    """Rows a second that COPY writes into a table of the same columns and key."""
    table = DeviceMetrics._meta.db_table
    columns = ", ".join(field.column for field in FIELDS)
    columns = f"tenant_id, device_id, recorded_at, received_at, {columns}"
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bare_samples")
        cursor.execute(f"CREATE TABLE bare_samples (LIKE {table} INCLUDING ALL)")
        cursor.execute("SET provisioning.scope = '*'")
        text = io.StringIO()
        cursor.copy_expert(
            f"COPY (SELECT {columns} FROM {table} LIMIT 100000) TO STDOUT", text
        )
        rows = text.getvalue().count("\n")
        text.seek(0)
        begun = time.perf_counter()
        cursor.copy_expert(f"COPY bare_samples ({columns}) FROM STDIN", text)
        return rows / (time.perf_counter() - begun)


def _check() -> None:
    """Every sample is in its hour and its day exactly once."""
    stored = DeviceMetrics.every_tenant.count()
    for model in (HourlyMetrics, DailyMetrics):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT sum(samples) FROM {model._meta.db_table}")
            counted = cursor.fetchone()[0]
        assert counted == stored, (model, counted, stored)
