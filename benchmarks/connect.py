"""`POST /devices/connect` through the whole stack, compared with one bare UPDATE."""

from django.db import connection

from benchmarks import client
from benchmarks.fleet import create_devices
from benchmarks.size import size
from benchmarks.stage import web

DEVICES = 1000
CONNECTIONS = 16
SECONDS = size(8.0, quick=1.0)
PORT = 8977


def main() -> None:
    device_tokens = create_devices(DEVICES)
    create_bare_table()
    body = b'{"app_version": "2.1.0", "os_version": "9"}'
    connect_requests = [client.post("/devices/connect", body, token) for token in device_tokens]
    bare_requests = [client.post(f"/{number}", body) for number in range(DEVICES)]
    ratios = []
    for run in (1, 2, 3):
        baseline = _measure("benchmarks.bare:application", bare_requests)
        result = _measure("provisioning.rsgi:app", connect_requests)
        ratios.append(result.rate / baseline.rate)
        print(
            f"connect, run {run}: {result.rate:,.0f}/s, p50 {result.percentile(0.5):.1f} ms,"
            f" p99 {result.percentile(0.99):.1f} ms, {result.failed} failed;"
            f" bare {baseline.rate:,.0f}/s; ratio {ratios[-1]:.2f}"
        )
    print(f"connect: median ratio {sorted(ratios)[1]:.2f} (target at least 0.50)")


def _measure(application: str, requests: list[bytes]) -> client.LoadResult:
    with web(application, PORT):
        client.run(PORT, requests, connections=CONNECTIONS, seconds=2)  # warm-up
        return client.run(PORT, requests, connections=CONNECTIONS, seconds=SECONDS)


def create_bare_table() -> None:
    """Create the table that the minimal Django view writes to, with one row for each device."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare (id integer PRIMARY KEY, seen timestamptz)")
        cursor.execute("INSERT INTO bare SELECT g, now() FROM generate_series(0, %s) g", [DEVICES])
