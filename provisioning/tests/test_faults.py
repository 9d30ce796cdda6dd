"""Fault injection under load: acknowledged data survives and processes recover."""

import itertools
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from certificates.models import DeviceCertificate
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.services import presence
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import wait_until
from events.models import Event
from provisioning.embedded.endpoints import Endpoints, load_or_create
from provisioning.tests.processes import subprocess_environment
from provisioning.tests.running import Up, call, running_up
from tenants.models import Tenant

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, migrated: Endpoints) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("faults"), migrated) as running:
        running.start()
        yield running


@pytest.fixture(scope="module")
def enrollment(up: Up) -> str:
    match = re.search(r"enr_[\w-]{43}", up.output())
    assert match is not None
    return match[0]


class LoadGenerator:
    """Register and connect devices in threads. Record what the server has acknowledged."""

    def __init__(self, up: Up, enrollment: str) -> None:
        self.up, self.enrollment = up, enrollment
        self.registered: dict[str, dict[str, Any]] = {}  # response by serial number
        self.samples: set[tuple[str, datetime]] = set()  # samples answered with 2xx
        self.max_seconds = 0.0  # longest time for one device
        self.failures = 0
        self.connects = 0

    @contextmanager
    def running(self, threads: int = 4) -> Iterator[None]:
        self._stop = threading.Event()
        workers = [threading.Thread(target=self._run) for _ in range(threads)]
        for worker in workers:
            worker.start()
        yield
        self._stop.set()
        for worker in workers:
            worker.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            serial = f"FAULT-{next(_numbers)}"
            started = time.monotonic()
            try:
                registration = call(
                    self.up, "/devices/auto-register", self.enrollment, {"serial_number": serial}
                )
                self.registered[serial] = registration
                call(self.up, "/devices/connect", registration["token"], {})
                self.connects += 1
                at = datetime.now(UTC)
                sample = {"recorded_at": at.isoformat(), "cpu_usage": 1}
                call(self.up, "/devices/metrics", registration["token"], sample)
                self.samples.add((registration["device"]["id"], at))
            except OSError:  # connection refused or reset, or a 5xx response
                self.failures += 1
                time.sleep(0.1)
            else:
                self.max_seconds = max(self.max_seconds, time.monotonic() - started)


def rows(up: Up, sql: str, *values: Any) -> list[Any]:
    connection = psycopg2.connect(load_or_create(up.var).environment["DATABASE_URL"])
    with connection, connection.cursor() as cursor:
        cursor.execute("SET provisioning.scope = '*'")
        cursor.execute(sql, values)
        result = cursor.fetchall()
    connection.close()
    return result


def test_no_acknowledged_data_is_lost_when_postgresql_is_killed(up: Up, enrollment: str) -> None:
    load = LoadGenerator(up, enrollment)

    with load.running():
        time.sleep(1.5)
        count_before = len(load.registered)
        victim = up.children()["postgres"]
        victim.kill()
        wait_until(lambda: up.replaced("postgres", victim))
        wait_until(up.ready)
        wait_until(lambda: len(load.registered) > count_before + 20)

    assert count_before > 0
    assert load.failures > 0, "PostgreSQL was never unavailable"
    stored = rows(
        up,
        "SELECT i.written, i.device_id::text, count(e.id) FROM devices_deviceidentifier i"
        " LEFT JOIN events_event e ON e.device_id = i.device_id"
        " AND e.name = 'device.registered' WHERE i.written LIKE 'FAULT-%%'"
        " GROUP BY i.written, i.device_id",
    )
    devices = {serial: (device, count) for serial, device, count in stored}
    for serial, registration in load.registered.items():
        assert devices[serial] == (registration["device"]["id"], 1), serial
        call(up, "/devices/connect", registration["token"], {})
    assert {count for _, count in devices.values()} == {1}, "a device without an event"
    assert set(stored_samples(up)) >= load.samples
    assert len(load.samples) > 20


def stored_samples(up: Up) -> list[tuple[str, datetime]]:
    return rows(up, "SELECT device_id::text, recorded_at FROM metrics_devicemetrics")


def test_requests_succeed_and_events_wait_while_redis_hangs(up: Up, enrollment: str) -> None:
    load = LoadGenerator(up, enrollment)
    valkey = up.children()["valkey"]

    # Stop the server instead of killing it. It then accepts connections and never responds.
    valkey.send_signal(signal.SIGSTOP)
    try:
        with load.running():
            time.sleep(8)
        assert not up.ready()
        health = f"http://localhost:{up.port}/health/ready"
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(health, timeout=5)
        assert b'"broker": "away"' in error.value.read()
    finally:
        valkey.send_signal(signal.SIGCONT)

    assert load.failures == 0
    assert load.connects > 20
    assert load.max_seconds < 3
    wait_until(up.ready)
    wait_until(lambda: rows(up, "SELECT count(*) FROM events_unsealed") == [(0,)])
    assert rows(up, "SELECT count(*) FROM events_delivery WHERE dead_at IS NOT NULL") == [(0,)]


def test_slow_clients_do_not_block_other_requests(up: Up, enrollment: str) -> None:
    head = (
        "POST /devices/pair HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    senders = [socket.create_connection(("127.0.0.1", up.port)) for _ in range(200)]
    for sender in senders:
        sender.sendall(head.encode())

    started = time.monotonic()
    call(up, "/devices/auto-register", enrollment, {"serial_number": "PATIENT"})
    assert time.monotonic() - started < 3

    senders[0].settimeout(30)
    response = senders[0].recv(1000).decode()
    assert response.startswith("HTTP/1.1 408")
    assert '"code": "request_timeout"' in response
    for sender in senders:
        sender.close()


def test_a_header_with_an_underscore_is_ignored(up: Up) -> None:
    """WSGI would merge `Content_Type` with `Content-Type`. The server ignores `Content_Type`."""
    request = (
        "POST /devices/pair HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nContent_Type: text/plain\r\n"
        'Content-Length: 24\r\n\r\n{"serial_number": "U-1"}'
    )
    with socket.create_connection(("127.0.0.1", up.port)) as sender:
        sender.sendall(request.encode())
        assert sender.recv(100).startswith(b"HTTP/1.1 200")


def test_the_tasks_of_a_killed_worker_are_run_by_the_next_worker(up: Up, enrollment: str) -> None:
    load = LoadGenerator(up, enrollment)

    with load.running(2):
        for _ in range(2):
            time.sleep(1)
            victim = up.children()["celery"]
            for process in (*victim.children(), victim):
                process.kill()
            wait_until(lambda victim=victim: up.replaced("celery", victim))  # type: ignore[misc]

    assert load.failures == 0
    wait_until(lambda: rows(up, "SELECT count(*) FROM events_unsealed") == [(0,)], timeout=60)
    assert '"breaks": []' in up.manage("verify_audit_log", "--json")


SWEEP_KILLED_IN_SECOND_SLICE = """
import os, signal
from datetime import UTC, datetime, timedelta
import django
django.setup()
from devices.registry.services import presence
from tenants.context import every_tenant_scope
presence.SWEEP_SLICE = 3
record, slices = presence.record, []
def record_and_kill(events):
    slices.append(record(events))
    if len(slices) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
presence.record = record_and_kill
with every_tenant_scope():
    presence.sweep(now=datetime.now(UTC), threshold=timedelta(minutes=5))
"""


@pytest.mark.django_db(transaction=True)
def test_a_killed_sweep_publishes_one_event_per_device(tenant: Tenant) -> None:
    now = datetime.now(UTC)
    DeviceFactory.create_batch(
        8, tenant=tenant, status="online", last_seen=now - timedelta(hours=1)
    )

    process = subprocess.run(
        [sys.executable, "-c", SWEEP_KILLED_IN_SECOND_SLICE],
        env=subprocess_environment(),
        check=False,
    )

    def event_count() -> int:
        return Event.every_tenant.named("device.status_changed").count()

    assert process.returncode == -signal.SIGKILL
    assert Device.every_tenant.filter(status="offline").count() == event_count() == 3
    assert presence.sweep(now=now, threshold=timedelta(minutes=5)) == 5
    assert event_count() == 8


DISK_FULL = """
import resource, sys
from datetime import UTC, datetime
import django
django.setup()
from certificates.services.certificate_management import CertificateManagementService
from devices.registry.models import Device
from tenants.context import every_tenant_scope
with every_tenant_scope():
    device = Device.every_tenant.get(pk=sys.argv[1])
    service = CertificateManagementService()
    service.authority(now=datetime.now(UTC))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # bytes; larger writes fail
    service.issue_certificate(device=device, csr_pem=sys.argv[2], now=datetime.now(UTC))
"""


@pytest.mark.django_db(transaction=True)
def test_a_full_disk_leaves_no_incomplete_certificate(
    device: Device, certificates_root: Path
) -> None:
    csr = request_for(ec_key())
    files = sorted(certificates_root.rglob("*"))

    process = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(device.pk), csr],
        env=subprocess_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert "OSError" in process.stderr
    assert not DeviceCertificate.objects.active().exists()
    assert sorted(certificates_root.rglob("*-cert.pem")) == [
        path for path in files if path.name.endswith("-cert.pem")
    ]
    issued = CertificateManagementService().issue_certificate(
        device=device, csr_pem=csr, now=datetime.now(UTC)
    )
    assert issued.status == "active"


@pytest.mark.django_db
def test_presence_is_correct_after_the_clock_was_set_back(tenant: Tenant, now: datetime) -> None:
    ahead, threshold = now + timedelta(hours=2), timedelta(minutes=5)
    talking, silent = DeviceFactory.create_batch(2, tenant=tenant, status="online", last_seen=ahead)

    for minute in range(6):
        at = now + timedelta(minutes=minute)
        Device.every_tenant.get(pk=talking.pk)
        presence.connect(device=talking, report=presence.ConnectReport(), now=at)
        presence.sweep(now=at, threshold=threshold)

    talking.refresh_from_db()
    assert (talking.status, talking.last_seen) == ("online", at)
    presence.sweep(now=ahead + threshold * 2, threshold=threshold)
    silent.refresh_from_db()
    assert silent.status == "offline"
