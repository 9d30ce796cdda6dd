"""Run two thousand simulated devices in one process. Measure resources and responses."""

import json
import os
import subprocess
import sys
import time

from django.utils import timezone

from benchmarks.roles import running_role
from benchmarks.size import size
from benchmarks.stage import web
from devices.registry.services.credentials import create_enrollment_token
from provisioning.var import BASE
from tenants.context import tenant_scope
from tenants.models import Tenant

DEVICES = size(2_000, quick=200)
SECONDS = size(120, quick=20)
PORT, STREAM_PORT = 8979, 9979


def main() -> None:
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="bench", now=timezone.now())
    os.environ["STREAM_URL"] = f"http://localhost:{STREAM_PORT}"
    with web("provisioning.rsgi:app", PORT), running_role("stream", STREAM_PORT):
        started = time.monotonic()
        process = subprocess.Popen(
            _command(), env=_environment(token), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        statistics = json.loads(process.stdout.read())
        _, _, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
    cpu_seconds = usage.ru_utime + usage.ru_stime
    requests = statistics["requests"]
    answered = sum(kind["answered"] for kind in requests.values())
    failed = sum(kind["failed"] for kind in requests.values())
    print(
        f"simulation: {requests['register']['answered']:,} of {DEVICES:,} devices,"
        f" {statistics['listening']:,} with push connections, for"
        f" {seconds:.0f} s, {answered:,} responses, {failed} failed; connect p50"
        f" {requests['connect']['p50_ms']} ms; {cpu_seconds / seconds:.2f} of one core"
        f" (target below 1), {usage.ru_maxrss / 1024:.0f} MB"
    )


def _command() -> list[str]:
    options = f"--devices {DEVICES} --seconds {SECONDS} --start-within 45 --json"
    server_options = f"--url http://localhost:{PORT}"
    manage = [sys.executable, str(BASE / "manage.py"), "simulate_fleet"]
    return [*manage, *server_options.split(), *options.split()]


def _environment(token: str) -> dict[str, str]:
    return {**os.environ, "ENROLLMENT_TOKEN": token}
