"""The fast path of the web server, compared with a bare server that writes batches.

The devices belong to 100 tenants. Row-level security applies, and one request in a hundred
reports another version, so that it goes the ordinary way.
"""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from benchmarks import client, light_load
from benchmarks.fleet import create_devices
from benchmarks.metrics import sample
from benchmarks.size import size
from benchmarks.stage import web

TENANTS, DEVICES = 100, size(20_000, quick=4_000)
SECONDS = size(8.0, quick=1.0)
ROUNDS = 5  # of samples, all of which are new
PORT = 8975
VERSION = "0" * 64
POLL_HEADERS = f'If-None-Match: "{VERSION}"\r\n'


def main() -> None:
    devices = create_devices(DEVICES, tenants=TENANTS, configuration_version=VERSION)
    body = b'{"app_version": "2.1.0", "os_version": "9"}'
    other = b'{"app_version": "2.1.1", "os_version": "9"}'
    connects = [
        client.post("/devices/connect", other if number % 100 == 0 else body, token)
        for number, token in enumerate(devices)
    ]
    polls = [
        client.get("/devices/me/configuration", token, headers=POLL_HEADERS) for token in devices
    ]
    recorded = datetime.now(UTC) - timedelta(minutes=40)
    samples = [
        client.post(
            "/devices/metrics",
            json.dumps(sample(recorded + round_ * timedelta(minutes=1), random.Random(0))).encode(),
            token,
        )
        for round_ in range(ROUNDS)
        for token in devices
    ]
    updates = [client.get("/devices/me/update", token) for token in devices]
    for connections in (16, 128):
        bare = _measure("benchmarks.bare_batched:app", connects, connections)
        _report(f"connect, {connections} connections", connects, connections, bare)
    _report("single samples", samples, 128, bare)
    _report("configuration poll (304)", polls, 128, bare)
    _report("update poll (204)", updates, 128, bare)


def _report(
    name: str, requests: Sequence[bytes], connections: int, bare: client.LoadResult
) -> None:
    result = _measure("provisioning.rsgi:app", requests, connections)
    print(
        f"fast: {name}: {result.rate:,.0f}/s, p50 {result.percentile(0.5):.1f} ms,"
        f" p99 {result.percentile(0.99):.1f} ms, {result.failed} failed;"
        f" bare batches {bare.rate:,.0f}/s; ratio {result.rate / bare.rate:.2f}"
    )


def _measure(application: str, requests: Sequence[bytes], connections: int) -> client.LoadResult:
    with web(application, PORT):
        # The warm-up begins at the end, so that it stores other samples.
        light_load.run(PORT, requests[::-1], connections=connections, seconds=3)
        return light_load.run(PORT, requests, connections=connections, seconds=SECONDS)
