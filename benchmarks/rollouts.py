"""Rollouts: creation for a million devices, waves of 5,000, feedback and downloads."""

import hashlib
import http.client
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import connection
from django.utils import timezone

from benchmarks import client
from benchmarks.connect import create_bare_table
from benchmarks.fleet import create_devices
from benchmarks.million import INSERT_DEVICES
from benchmarks.size import size
from benchmarks.stage import web
from core.uploads import UploadedFile
from devices.registry.models import Device, DeviceToken
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.services import (
    packages,
    products,
    rollout_control,
    rollout_tick,
    rollouts,
    wave_candidates,
)
from devices.updates.services.targets import WaveSize
from provisioning.embedded import endpoints
from tenants import tokens
from tenants.context import tenant_scope
from tenants.models import Tenant, User

DEVICES = size(1_000_000, quick=30_000)
WAVE_SIZE = 5_000
FILE_SIZE = 200_000_000  # bytes
PORT, NGINX_PORT = 8975, 8974
SECONDS, CONNECTIONS = size(8.0, quick=1.0), 16
WAVES = 5
BARE_INSERT = """
    INSERT INTO bare_status (deployment, device, status, opened)
    SELECT gen_random_uuid(), gen_random_uuid(), 'pending', now()
    FROM generate_series(1, %s)
"""


def main() -> None:
    settings.RATES = dict.fromkeys(settings.RATES)
    _measure_creation()
    _measure_feedback()
    _measure_download()


def _measure_creation() -> None:
    tenant = Tenant.objects.create(slug="million", name="Million")
    with connection.cursor() as cursor:
        cursor.execute(INSERT_DEVICES, [tenant.pk, 1, DEVICES])
        cursor.execute("VACUUM ANALYZE devices_device")
        cursor.execute(
            "CREATE TABLE bare_status (id bigserial PRIMARY KEY, deployment uuid,"
            " device uuid, status text, opened timestamptz)"
        )
        cursor.execute("CREATE INDEX ON bare_status (deployment, device)")
    user = User.objects.create_user("bench@example.com")
    with tenant_scope(tenant.pk):
        package = _package("9.0.0", b"package")
        wave_sizes = [WaveSize(count=WAVE_SIZE * n) for n in range(1, WAVES + 1)]
        terms = {"waves": [*wave_sizes, WaveSize(percent=100.0)], "soak_minutes": 0}
        bare_seconds = _seconds(_bare_count)
        seconds = _seconds(
            lambda: rollouts.create(package=package, values=terms, by=user, now=timezone.now())
        )
        _report(f"a rollout over {DEVICES:,} devices, created", seconds, 5, bare_seconds)
        row = Deployment.objects.get()
        rollout_control.start(deployment=row, by=user, now=timezone.now())
        if Deployment.objects.get().state == "waiting":
            approver = User.objects.create_user("other@example.com")
            rollout_control.approve(deployment=row, by=approver, now=timezone.now())
        for _ in range(WAVES):
            _measure_wave(row)


def _measure_wave(row: Deployment) -> None:
    """Advance the rollout until the wave has its devices. Report the longest step."""
    previous, longest = _status_count(), 0.0
    while _status_count() < previous + WAVE_SIZE:
        Deployment.every_tenant.update(due_at=timezone.now())
        longest = max(
            longest, _seconds(lambda: rollout_tick.advance_next_rollout(now=timezone.now()))
        )
    bare_seconds = _seconds(lambda: _execute(BARE_INSERT, WAVE_SIZE))
    _report(f"a tick that opens a wave of {wave_candidates.BATCH:,}", longest, 2, bare_seconds)
    UpdateStatus.every_tenant.update(status="completed", ended_at=timezone.now())
    Deployment.every_tenant.update(due_at=timezone.now())
    while _status_count() < previous + WAVE_SIZE + 1 and rollout_tick.advance_next_rollout(
        now=timezone.now()
    ):
        if row.waves.filter(state="running", is_open=False).exists():
            break


def _measure_feedback() -> None:
    device_tokens = create_devices(1000)
    create_bare_table()
    tenant = Tenant.objects.get(slug="bench")
    user = User.objects.get(email="bench@example.com")
    with tenant_scope(tenant.pk):
        package = _package("9.0.0", b"package")
        terms = {"waves": [WaveSize(percent=100.0)]}
        row = rollouts.create(package=package, values=terms, by=user, now=timezone.now())
        rollout_control.start(deployment=row, by=user, now=timezone.now())
        while rollout_tick.advance_next_rollout(now=timezone.now()):
            pass
    path = f"/devices/me/updates/{row.pk}/feedback"
    feedback_requests = [
        client.post(
            path, b'{"attempt": 1, "status": "downloading", "progress": %d}' % progress, token
        )
        for progress in range(1, 51)
        for token in device_tokens
    ]
    bare_requests = [client.post(f"/{number}", b"{}") for number in range(1000)]
    with web("benchmarks.bare:application", PORT):
        client.run(PORT, bare_requests, connections=CONNECTIONS, seconds=2)
        baseline = client.run(PORT, bare_requests, connections=CONNECTIONS, seconds=SECONDS)
    with web("provisioning.rsgi:app", PORT):
        client.run(PORT, feedback_requests[:1000], connections=CONNECTIONS, seconds=2)
        result = client.run(PORT, feedback_requests, connections=CONNECTIONS, seconds=SECONDS)
    mark = "" if result.rate >= 500 else "  <-- under"
    print(
        f"feedback: {result.rate:,.0f}/s, p50 {result.percentile(0.5):.1f} ms,"
        f" p99 {result.percentile(0.99):.1f} ms, {result.failed} failed; bare"
        f" {baseline.rate:,.0f}/s; ratio {result.rate / baseline.rate:.2f} (target 500/s){mark}"
    )


def _measure_download() -> None:
    """Download a package in four ranges, compared with the same file served by nginx."""
    tenant = Tenant.objects.get(slug="bench")
    user = User.objects.get(email="bench@example.com")
    with tenant_scope(tenant.pk):
        package = _package("10.0.0", os.urandom(1 << 20) * (FILE_SIZE >> 20))
        device = Device.objects.first()
        assert device is not None
        terms = {"waves": [WaveSize(percent=100.0)], "filter": {"device": str(device.pk)}}
        row = rollouts.create(package=package, values=terms, by=user, now=timezone.now())
        rollout_control.start(deployment=row, by=user, now=timezone.now())
        while rollout_tick.advance_next_rollout(now=timezone.now()):
            pass
        token = tokens.make(DeviceToken.prefix)
        DeviceToken.objects.filter(device=device).update(digest=tokens.digest(token))
    path = f"/updates/packages/{package.pk}/file"
    stored = Path(settings.PACKAGES_ROOT) / package.stored_name
    with web("provisioning.rsgi:app", PORT):
        _fetch_in_ranges(PORT, path, token, package.size or 0)
        previous, memory = _memory(), 0
        times = []
        for _ in range(3):
            times.append(_seconds(lambda: _fetch_in_ranges(PORT, path, token, package.size or 0)))
            memory = max(memory, _memory() - previous)
    rate = (package.size or 0) / sorted(times)[1] / 1e6
    summary = f"download of {FILE_SIZE / 1e6:.0f} MB in ranges: {rate:,.0f} MB/s"
    summary += f", memory grew by {memory / 1e6:.0f} MB"
    if shutil.which("nginx") is None:
        print(f"{summary}; nginx is not installed")
        return
    with _nginx(stored.parent):
        nginx_times = [
            _seconds(
                lambda: _fetch_in_ranges(NGINX_PORT, f"/{stored.name}", token, package.size or 0)
            )
            for _ in range(4)
        ][1:]
    nginx_rate = (package.size or 0) / sorted(nginx_times)[1] / 1e6
    print(f"{summary}; bare nginx {nginx_rate:,.0f} MB/s; ratio {rate / nginx_rate:.2f}")


def _fetch_in_ranges(port: int, path: str, token: str, size: int) -> None:
    """Download a file of `size` bytes in four range requests."""
    received = 0
    step = -(-size // 4)
    while received < size:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        range_ = f"bytes={received}-{min(size, received + step) - 1}"
        headers = {"Authorization": f"Bearer {token}", "Range": range_}
        client.request("GET", path, headers=headers)
        response = client.getresponse()
        assert response.status == 206, response.status
        while chunk := response.read(1 << 18):
            received += len(chunk)
        client.close()
    assert received == size


@contextmanager
def _nginx(root: Path) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(
            f"daemon off; worker_processes 2; pid {folder}/pid; error_log stderr crit;"
            " events {} http { access_log off; sendfile on;"
            f" server {{ listen 127.0.0.1:{NGINX_PORT}; root {root}; }} }}"
        )
        os.chmod(root, 0o755)
        command = ["nginx", "-c", str(configuration), "-p", folder, "-g", "user root;"]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not endpoints.accepts_connections(NGINX_PORT):
            time.sleep(0.1)
        try:
            yield
        finally:
            server.terminate()
            server.wait()


def _package(version: str, content: bytes) -> SoftwareUpdate:
    now = timezone.now()
    product = products.create(name=f"player {version}", now=now)
    row = packages.create(product=product, version=version, now=now)
    folder = Path(settings.UPLOADS_ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bench"
    path.write_bytes(content)
    hashes = {name: hashlib.new(name, content).hexdigest() for name in ("sha256", "sha1", "md5")}
    spooled = UploadedFile(str(path), len(content), **hashes)
    packages.receive(package=row, spooled=spooled, now=now)
    return packages.release(package=row, now=now)


def _memory() -> int:
    """Return the resident memory of the web server processes in bytes."""
    total = 0
    for process in psutil.process_iter(["cmdline"]):
        if "provisioning.rsgi:app" in (process.info["cmdline"] or []):
            total += process.memory_info().rss
    return total


def _status_count() -> int:
    return UpdateStatus.every_tenant.count()


def _bare_count() -> None:
    _execute("SELECT model, app_version, count(*) FROM devices_device GROUP BY 1, 2")


def _execute(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _report(name: str, seconds: float, target: float, bare_seconds: float) -> None:
    mark = "  <-- over" if seconds > target else ""
    print(
        f"{name}: {seconds:.2f} s (target {target} s); bare {bare_seconds:.2f} s;"
        f" ratio {seconds / bare_seconds:.1f}{mark}"
    )
