"""`POST /devices/auto-register` of new boxes through the whole stack."""

import itertools
import json

from django.utils import timezone

from benchmarks import load
from benchmarks.beside import measured
from devices.registry.models import Device
from devices.registry.services.credentials import create_enrollment_token
from tenants.context import tenant_scope
from tenants.models import Tenant

SECONDS = 8.0
PORT = 8978
BOXES = 40_000  # more than can be registered in the time: each request is a new box


def main() -> None:
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="bench", now=timezone.now())
    numbers = itertools.count(1)
    boxes = [_box(next(numbers), token) for _ in range(BOXES)]
    words = measured(boxes, port=PORT, seconds=SECONDS)
    made = Device.every_tenant.count()
    print(f"registration: {words}, {made:,} devices (target at least 200/s)")


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
