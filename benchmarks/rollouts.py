"""Rollouts: over a million devices, a wave of five thousand, feedback, a large download."""

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

from benchmarks import load
from benchmarks.connect import bare_table, fleet
from benchmarks.million import FLEET
from benchmarks.stage import web
from core.uploads import Spooled
from devices.registry.models import Device, DeviceToken
from devices.updates.models import Deployment, SoftwareUpdate, UpdateStatus
from devices.updates.services import (
    packages,
    products,
    rollout_control,
    rollout_tick,
    wave_candidates,
)
from devices.updates.services import (
    rollouts as deployments,
)
from devices.updates.services.targets import Size
from provisioning.embedded import endpoints
from tenants import tokens
from tenants.context import tenant_scope
from tenants.models import Tenant, User

DEVICES = 1_000_000
WAVE = 5_000
FILE = 200_000_000  # bytes
PORT, NGINX = 8975, 8974
SECONDS, CONNECTIONS = 8.0, 16
TURNS = 5
BARE_INSERT = """
    INSERT INTO bare_status (deployment, device, status, opened)
    SELECT gen_random_uuid(), gen_random_uuid(), 'pending', now()
    FROM generate_series(1, %s)
"""


def main() -> None:
    settings.RATES = dict.fromkeys(settings.RATES)
    _over_a_million()
    _feedback()
    _download()


def _over_a_million() -> None:
    tenant = Tenant.objects.create(slug="million", name="Million")
    with connection.cursor() as cursor:
        cursor.execute(FLEET, [tenant.pk, 1, DEVICES])
        cursor.execute("VACUUM ANALYZE devices_device")
        cursor.execute(
            "CREATE TABLE bare_status (id bigserial PRIMARY KEY, deployment uuid,"
            " device uuid, status text, opened timestamptz)"
        )
        cursor.execute("CREATE INDEX ON bare_status (deployment, device)")
    by = User.objects.create_user("bench@example.com")
    with tenant_scope(tenant.pk):
        package = _package("9.0.0", b"package")
        waves = [Size(count=WAVE * n) for n in range(1, TURNS + 1)]
        said = {"waves": [*waves, Size(percent=100.0)], "soak_minutes": 0}
        bare = _seconds(_bare_count)
        spent = _seconds(
            lambda: deployments.create(
                package=package, said=said, by=by, now=timezone.now()
            )
        )
        _report(f"a rollout over {DEVICES:,} devices, created", spent, 5, bare)
        row = Deployment.objects.get()
        rollout_control.start(deployment=row, by=by, now=timezone.now())
        if Deployment.objects.get().state == "waiting":
            other = User.objects.create_user("other@example.com")
            rollout_control.approve(deployment=row, by=other, now=timezone.now())
        for _ in range(TURNS):
            _open_a_wave(row)


def _open_a_wave(row: Deployment) -> None:
    """Each step of the tick until the wave has its devices; the longest counts."""
    before, longest = _opened(), 0.0
    while _opened() < before + WAVE:
        Deployment.every_tenant.update(due_at=timezone.now())
        longest = max(longest, _seconds(lambda: rollout_tick.tick(now=timezone.now())))
    bare = _seconds(lambda: _execute(BARE_INSERT, WAVE))
    _report(f"a tick that opens a wave of {wave_candidates.BATCH:,}", longest, 2, bare)
    UpdateStatus.every_tenant.update(status="completed", ended_at=timezone.now())
    Deployment.every_tenant.update(due_at=timezone.now())
    while _opened() < before + WAVE + 1 and rollout_tick.tick(now=timezone.now()):
        if row.waves.filter(state="running", is_open=False).exists():
            break


def _feedback() -> None:
    secrets = fleet(1000)
    bare_table()
    tenant = Tenant.objects.get(slug="bench")
    by = User.objects.get(email="bench@example.com")
    with tenant_scope(tenant.pk):
        package = _package("9.0.0", b"package")
        said = {"waves": [Size(percent=100.0)]}
        row = deployments.create(package=package, said=said, by=by, now=timezone.now())
        rollout_control.start(deployment=row, by=by, now=timezone.now())
        while rollout_tick.tick(now=timezone.now()):
            pass
    path = f"/devices/me/updates/{row.pk}/feedback"
    ours = [
        load.post(
            path,
            b'{"attempt": 1, "status": "downloading", "progress": %d}' % share,
            secret,
        )
        for share in range(1, 51)
        for secret in secrets
    ]
    bare = [load.post(f"/{number}", b"{}") for number in range(1000)]
    with web("benchmarks.bare:application", PORT):
        load.run(PORT, bare, connections=CONNECTIONS, seconds=2)
        base = load.run(PORT, bare, connections=CONNECTIONS, seconds=SECONDS)
    with web("provisioning.rsgi:app", PORT):
        load.run(PORT, ours[:1000], connections=CONNECTIONS, seconds=2)
        told = load.run(PORT, ours, connections=CONNECTIONS, seconds=SECONDS)
    good = "" if told.rate >= 500 else "  <-- under"
    print(
        f"feedback: {told.rate:,.0f}/s, p50 {told.percentile(0.5):.1f} ms,"
        f" p99 {told.percentile(0.99):.1f} ms, {told.failed} failed; bare"
        f" {base.rate:,.0f}/s; ratio {told.rate / base.rate:.2f} (target 500/s){good}"
    )


def _download() -> None:
    """A device fetches a package in four ranges; nginx hands the same file out bare."""
    tenant = Tenant.objects.get(slug="bench")
    by = User.objects.get(email="bench@example.com")
    with tenant_scope(tenant.pk):
        package = _package("10.0.0", os.urandom(1 << 20) * (FILE >> 20))
        device = Device.objects.first()
        assert device is not None
        said = {"waves": [Size(percent=100.0)], "filter": {"device": str(device.pk)}}
        row = deployments.create(package=package, said=said, by=by, now=timezone.now())
        rollout_control.start(deployment=row, by=by, now=timezone.now())
        while rollout_tick.tick(now=timezone.now()):
            pass
        secret = tokens.make(DeviceToken.prefix)
        DeviceToken.objects.filter(device=device).update(digest=tokens.digest(secret))
    path = f"/updates/packages/{package.pk}/file"
    stored = Path(settings.PACKAGES_ROOT) / package.stored_name
    with web("provisioning.rsgi:app", PORT):
        _fetched(PORT, path, secret, package.size or 0)
        before, memory = _memory(), 0
        ours = []
        for _ in range(3):
            ours.append(
                _seconds(lambda: _fetched(PORT, path, secret, package.size or 0))
            )
            memory = max(memory, _memory() - before)
    rate = (package.size or 0) / sorted(ours)[1] / 1e6
    told = f"download of {FILE / 1e6:.0f} MB in ranges: {rate:,.0f} MB/s"
    told += f", memory grew by {memory / 1e6:.0f} MB"
    if shutil.which("nginx") is None:
        print(f"{told}; nginx is not here")
        return
    with _nginx(stored.parent):
        bare = [
            _seconds(
                lambda: _fetched(NGINX, f"/{stored.name}", secret, package.size or 0)
            )
            for _ in range(4)
        ][1:]
    base = (package.size or 0) / sorted(bare)[1] / 1e6
    print(f"{told}; bare nginx {base:,.0f} MB/s; ratio {rate / base:.2f}")


def _fetched(port: int, path: str, secret: str, size: int) -> None:
    digest, got = hashlib.md5(usedforsecurity=False), 0
    step = -(-size // 4)
    while got < size:
        caller = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        said = f"bytes={got}-{min(size, got + step) - 1}"
        headers = {"Authorization": f"Bearer {secret}", "Range": said}
        caller.request("GET", path, headers=headers)
        answer = caller.getresponse()
        assert answer.status == 206, answer.status
        while piece := answer.read(1 << 18):
            got += len(piece)
        caller.close()
    assert got == size, digest


@contextmanager
def _nginx(root: Path) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "nginx.conf"
        written.write_text(
            f"daemon off; worker_processes 2; pid {folder}/pid; error_log stderr crit;"
            " events {} http { access_log off; sendfile on;"
            f" server {{ listen 127.0.0.1:{NGINX}; root {root}; }} }}"
        )
        os.chmod(root, 0o755)
        command = ["nginx", "-c", str(written), "-p", folder, "-g", "user root;"]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not endpoints.answers(NGINX):
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
    came = Spooled(str(path), len(content), hashlib.sha256(content).hexdigest())
    packages.receive(package=row, spooled=came, now=now)
    return packages.release(package=row, now=now)


def _memory() -> int:
    """Bytes of the web server's processes."""
    found = 0
    for process in psutil.process_iter(["cmdline"]):
        if "provisioning.rsgi:app" in (process.info["cmdline"] or []):
            found += process.memory_info().rss
    return found


def _opened() -> int:
    return UpdateStatus.every_tenant.count()


def _bare_count() -> None:
    _execute("SELECT model, app_version, count(*) FROM devices_device GROUP BY 1, 2")


def _execute(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def _seconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _report(name: str, spent: float, target: float, bare: float) -> None:
    over = "  <-- over" if spent > target else ""
    print(
        f"{name}: {spent:.2f} s (target {target} s); bare {bare:.2f} s;"
        f" ratio {spent / bare:.1f}{over}"
    )
