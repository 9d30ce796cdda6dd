"""Real parts fail under load: nothing acknowledged is lost, no process needs a hand."""

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
from devices.registry.tests.waiting import until
from events.models import Event
from provisioning.embedded.endpoints import known
from provisioning.tests.processes import other_process
from provisioning.tests.running import Up, call, running_up
from tenants.models import Tenant

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("faults")) as running:
        running.start()
        yield running


@pytest.fixture(scope="module")
def enrollment(up: Up) -> str:
    found = re.search(r"enr_[\w-]{43}", up.output())
    assert found is not None
    return found[0]


class Boxes:
    """Boxes that register and connect all the time, and note what was acknowledged."""

    def __init__(self, up: Up, enrollment: str) -> None:
        self.up, self.enrollment = up, enrollment
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.reported: set[tuple[str, datetime]] = set()  # samples answered with 2xx
        self.slowest = 0.0
        self.refused = 0
        self.connected = 0

    @contextmanager
    def at_work(self, count: int = 4) -> Iterator[None]:
        self._ending = threading.Event()
        threads = [threading.Thread(target=self._work) for _ in range(count)]
        for thread in threads:
            thread.start()
        yield
        self._ending.set()
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        while not self._ending.is_set():
            serial = f"FAULT-{next(_numbers)}"
            begun = time.monotonic()
            try:
                made = call(
                    self.up,
                    "/devices/auto-register",
                    self.enrollment,
                    {"serial_number": serial},
                )
                self.acknowledged[serial] = made
                call(self.up, "/devices/connect", made["token"], {})
                self.connected += 1
                at = datetime.now(UTC)
                sample = {"recorded_at": at.isoformat(), "cpu_usage": 1}
                call(self.up, "/devices/metrics", made["token"], sample)
                self.reported.add((made["device"]["id"], at))
            except OSError:  # refused, reset, or answered with a 5xx
                self.refused += 1
                time.sleep(0.1)
            else:
                self.slowest = max(self.slowest, time.monotonic() - begun)


def rows(up: Up, sql: str, *values: Any) -> list[Any]:
    connection = psycopg2.connect(known(up.var).environment["DATABASE_URL"])
    with connection, connection.cursor() as cursor:
        cursor.execute("SET provisioning.scope = '*'")
        cursor.execute(sql, values)
        found: list[Any] = cursor.fetchall()
    connection.close()
    return found


def test_postgresql_killed_under_load_loses_nothing_acknowledged(
    up: Up, enrollment: str
) -> None:
    boxes = Boxes(up, enrollment)

    with boxes.at_work():
        time.sleep(1.5)
        before = len(boxes.acknowledged)
        victim = up.children()["postgres"]
        victim.kill()
        until(lambda: up.replaced("postgres", victim))
        until(up.ready)
        until(lambda: len(boxes.acknowledged) > before + 20)

    assert before > 0
    assert boxes.refused > 0, "it was really gone"
    registered = rows(
        up,
        "SELECT i.value, i.device_id::text, count(e.id) FROM devices_deviceidentifier i"
        " LEFT JOIN events_event e ON e.device_id = i.device_id"
        " AND e.name = 'device.registered' WHERE i.value LIKE 'FAULT-%%'"
        " GROUP BY i.value, i.device_id",
    )
    found = {serial: (device, count) for serial, device, count in registered}
    for serial, made in boxes.acknowledged.items():
        assert found[serial] == (made["device"]["id"], 1), serial
        call(up, "/devices/connect", made["token"], {})
    assert {count for _, count in found.values()} == {1}, "and none is there by half"
    assert set(stored_samples(up)) >= boxes.reported
    assert len(boxes.reported) > 20


def stored_samples(up: Up) -> list[tuple[str, datetime]]:
    return rows(up, "SELECT device_id::text, recorded_at FROM metrics_devicemetrics")


def test_redis_gone_holds_up_nobody_and_events_wait(up: Up, enrollment: str) -> None:
    boxes = Boxes(up, enrollment)
    valkey = up.children()["valkey"]

    valkey.send_signal(signal.SIGSTOP)  # worse than dead: it takes calls and is silent
    try:
        with boxes.at_work():
            time.sleep(8)
        assert not up.ready()
        health = f"http://localhost:{up.port}/health/ready"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(health, timeout=5)
        assert b'"broker": "away"' in refused.value.read()
    finally:
        valkey.send_signal(signal.SIGCONT)

    assert boxes.refused == 0
    assert boxes.connected > 20
    assert boxes.slowest < 3
    until(up.ready)
    until(lambda: rows(up, "SELECT count(*) FROM events_unsealed") == [(0,)])
    assert rows(
        up, "SELECT count(*) FROM events_delivery WHERE dead_at IS NOT NULL"
    ) == [(0,)]


def test_slow_senders_keep_nobody_out(up: Up, enrollment: str) -> None:
    head = (
        "POST /devices/pair HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    senders = [socket.create_connection(("127.0.0.1", up.port)) for _ in range(200)]
    for sender in senders:
        sender.sendall(head.encode())

    begun = time.monotonic()
    call(up, "/devices/auto-register", enrollment, {"serial_number": "PATIENT"})
    assert time.monotonic() - begun < 3

    senders[0].settimeout(30)
    answer = senders[0].recv(1000).decode()
    assert answer.startswith("HTTP/1.1 408")
    assert '"code": "request_timeout"' in answer
    for sender in senders:
        sender.close()


def test_a_header_with_an_underscore_does_not_pass_for_another(up: Up) -> None:
    """`Content_Type` would else be joined to `Content-Type`."""
    request = (
        "POST /devices/pair HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nContent_Type: text/plain\r\n"
        'Content-Length: 24\r\n\r\n{"serial_number": "U-1"}'
    )
    with socket.create_connection(("127.0.0.1", up.port)) as sender:
        sender.sendall(request.encode())
        assert sender.recv(100).startswith(b"HTTP/1.1 200")


def test_a_worker_killed_while_it_works_leaves_work_for_the_next(
    up: Up, enrollment: str
) -> None:
    boxes = Boxes(up, enrollment)

    with boxes.at_work(2):
        for _ in range(2):
            time.sleep(1)
            victim = up.children()["celery"]
            for process in (*victim.children(), victim):
                process.kill()
            until(lambda victim=victim: up.replaced("celery", victim))  # type: ignore[misc]

    assert boxes.refused == 0
    until(lambda: rows(up, "SELECT count(*) FROM events_unsealed") == [(0,)], within=60)
    assert '"breaks": []' in up.manage("verify_audit_log", "--json")


KILLED_IN_A_SWEEP = """
import os, signal
from datetime import UTC, datetime, timedelta
import django
django.setup()
from devices import presence
from tenants.context import every_tenant_scope
presence.SWEEP_BATCH = 3
record, batches = presence.record, []
def killed(facts):
    batches.append(record(facts))
    if len(batches) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
presence.record = killed
with every_tenant_scope():
    presence.sweep(now=datetime.now(UTC), threshold=timedelta(minutes=5))
"""


@pytest.mark.django_db(transaction=True)
def test_a_sweep_killed_in_its_middle_announces_each_device_once(
    tenant: Tenant,
) -> None:
    now = datetime.now(UTC)
    DeviceFactory.create_batch(
        8, tenant=tenant, status="online", last_seen=now - timedelta(hours=1)
    )

    died = subprocess.run(
        [sys.executable, "-c", KILLED_IN_A_SWEEP], env=other_process(), check=False
    )

    def announced() -> int:
        return Event.every_tenant.named("device.status_changed").count()

    assert died.returncode == -signal.SIGKILL
    assert Device.every_tenant.filter(status="offline").count() == announced() == 3
    assert presence.sweep(now=now, threshold=timedelta(minutes=5)) == 5
    assert announced() == 8


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
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # a write of more fails
    service.issue_certificate(device=device, csr_pem=sys.argv[2], now=datetime.now(UTC))
"""


@pytest.mark.django_db(transaction=True)
def test_a_disk_that_is_full_leaves_no_half_certificate(
    device: Device, certificates_root: Path
) -> None:
    csr = request_for(ec_key())
    files = sorted(certificates_root.rglob("*"))

    failed = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(device.pk), csr],
        env=other_process(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert "OSError" in failed.stderr
    assert not DeviceCertificate.objects.active().exists()
    assert sorted(certificates_root.rglob("*-cert.pem")) == [
        path for path in files if path.name.endswith("-cert.pem")
    ]
    issued = CertificateManagementService().issue_certificate(
        device=device, csr_pem=csr, now=datetime.now(UTC)
    )
    assert issued.status == "active"


@pytest.mark.django_db
def test_with_the_clock_set_back_who_talks_is_online_and_who_falls_silent_is_found(
    tenant: Tenant, now: datetime
) -> None:
    ahead, threshold = now + timedelta(hours=2), timedelta(minutes=5)
    talking, silent = DeviceFactory.create_batch(
        2, tenant=tenant, status="online", last_seen=ahead
    )

    for minute in range(6):
        at = now + timedelta(minutes=minute)
        Device.every_tenant.get(pk=talking.pk)
        presence.connect(device=talking, report=presence.Report(), now=at)
        presence.sweep(now=at, threshold=threshold)

    talking.refresh_from_db()
    assert (talking.status, talking.last_seen) == ("online", at)
    presence.sweep(now=ahead + threshold * 2, threshold=threshold)
    silent.refresh_from_db()
    assert silent.status == "offline"
