"""`POST /devices/auto-register` of new boxes through the whole stack."""

import itertools
import json

from django.utils import timezone

from benchmarks import load
from benchmarks.connect import bare_table
from benchmarks.stage import web
from devices.credentials import create_enrollment_token
from devices.models import Device
from tenants.context import tenant_scope
from tenants.models import Tenant

CONNECTIONS = 16
SECONDS = 8.0
PORT = 8978
BOXES = 40_000  # more than can be registered in the time: each request is a new box


def main() -> None:
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="bench", now=timezone.now())
    bare_table()
    numbers = itertools.count(1)
    with web("benchmarks.bare:application", PORT):
        bare = [load.post(f"/{number}", b"{}") for number in range(1000)]
        baseline = load.run(PORT, bare, connections=CONNECTIONS, seconds=4)
    with web("provisioning.rsgi:app", PORT):
        boxes = [_box(next(numbers), token) for _ in range(BOXES)]
        figures = load.run(PORT, boxes, connections=CONNECTIONS, seconds=SECONDS)
    made = Device.every_tenant.count()
    print(
        f"registration: {figures.rate:,.0f}/s, p50 {figures.percentile(0.5):.1f} ms,"
        f" p99 {figures.percentile(0.99):.1f} ms, {figures.failed} failed,"
        f" {made:,} devices; ratio to a bare UPDATE {figures.rate / baseline.rate:.2f}"
        " (target at least 200/s)"
    )


def _box(number: int, token: str) -> bytes:
    body = {
        "serial_number": f"SN-{number:08}",
        "mac_addresses": [f"aa{number:010x}"],
        "manufacturer": "Amlogic",
        "model": "X96",
        "screen_width": 1920,
        "screen_height": 1080,
    }
    return load.post("/devices/auto-register", json.dumps(body).encode(), token)
