"""The load of 200,000 devices on the whole product, for ten minutes. It is run by hand.

Each device connects every minute and sends a sample every five minutes; 300 of them poll their
configuration each second. One device in 200 reports another version at each connect. Another one
in 200 connects every eighth minute and sends nothing else, so that it goes offline in between.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import psutil
from django.db import connection

from benchmarks import client, light_load
from benchmarks.fleet import create_devices
from benchmarks.stage import web
from devices.registry.models import Device
from events.models import Event
from provisioning.processes import Program, start, stop
from provisioning.roles import command_line

TENANTS, DEVICES = 100, 200_000
CONNECTS, SAMPLES, POLLS = 340, 67, 30  # in tenths of a second
TOTAL = CONNECTS + SAMPLES + POLLS
SECONDS = float(os.environ.get("BENCH_SECONDS", "600"))
CONNECTIONS = 256
PORT = 8981
VERSION = "0" * 64
POLL_HEADERS = f'If-None-Match: "{VERSION}"\r\n'
SAMPLE = (
    '{"recorded_at": "%s", "cpu_usage": 31.5, "ram_used_mb": 1201, "ram_total_mb": 2048,'
    ' "storage_used_mb": 3811, "storage_total_mb": 8192, "temperature": 51.5,'
    ' "network": {"type": "wifi", "ssid": "Lobby", "signal_strength": -61, "latency": 24}}'
)


def main() -> None:
    devices = create_devices(DEVICES, tenants=TENANTS, configuration_version=VERSION)
    with web("provisioning.rsgi:app", PORT), _background():
        light_load.run_at_rate(
            PORT, _requests(devices), rate=TOTAL * 2, connections=CONNECTIONS, seconds=20
        )  # warm-up
        before = _usage()
        result = light_load.run_at_rate(
            PORT, _requests(devices), rate=TOTAL * 10, connections=CONNECTIONS, seconds=SECONDS
        )
        cpu, wal = (after - start for after, start in zip(_usage(), before, strict=True))
    day = 86_400 / result.seconds / DEVICES  # of one device
    print(
        f"load: {cpu / result.seconds:.2f} processors; for each device and day"
        f" {cpu * day:.2f} s of CPU time, {wal * day / 1e6:.2f} MB of WAL"
    )
    print(f"load: {_share_of_hot_updates():.1%} of the updates of devices changed no index")
    changes = Event.every_tenant.filter(name="device.status_changed").count()
    offline = Device.every_tenant.filter(status="offline").count()
    print(
        f"load: {result.rate:,.0f} requests/s for {result.seconds:.0f} s, {result.failed} failed,"
        f" p50 {result.percentile(0.5):.1f} ms, p99 {result.percentile(0.99):.1f} ms,"
        f" longest {result.latencies[-1] * 1000:.0f} ms (target: none failed, p99 under 100 ms);"
        f" {changes:,} changes of status, {offline:,} devices offline at the end"
    )


def _usage() -> tuple[float, int]:
    """Return CPU seconds of all servers, and bytes of WAL."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
        (wal,) = cursor.fetchone()
    return sum(time.user + time.system for time in times), wal


def _share_of_hot_updates() -> float:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n_tup_hot_upd::float / n_tup_upd FROM pg_stat_user_tables"
            " WHERE relname = 'devices_device'"
        )
        return float(cursor.fetchone()[0])


@contextmanager
def _background() -> Iterator[None]:
    """Run a worker and beat: the sweep, rules, roll-ups, deliveries."""
    with ExitStack() as stack:
        for role in ("worker", "beat"):
            program = Program(name=role, command=command_line(role, port=0))
            stack.callback(stop, [(program, start(program, quiet=True))])
        yield


def _is_silent(device: int) -> bool:
    return device % 200 == 100


def _requests(devices: list[str]) -> Callable[[int], bytes]:
    connects, samples, polls = itertools.count(), itertools.count(), itertools.count()

    def request(number: int) -> bytes:
        kind = number % TOTAL
        if kind < CONNECTS:
            cycle, device = divmod(next(connects), DEVICES)
            while _is_silent(device) and cycle % 8:
                cycle, device = divmod(next(connects), DEVICES)
            version = "2.1.1" if device % 200 == 0 and cycle % 2 else "2.1.0"
            body = f'{{"app_version": "{version}", "os_version": "9"}}'
            return client.post("/devices/connect", body.encode(), devices[device])
        if kind < CONNECTS + SAMPLES:
            body = SAMPLE % datetime.now(UTC).isoformat()
            device = next(number for number in samples if not _is_silent(number)) % DEVICES
            return client.post("/devices/metrics", body.encode(), devices[device])
        device = next(polls) % DEVICES
        return client.get("/devices/me/configuration", devices[device], headers=POLL_HEADERS)

    return request
