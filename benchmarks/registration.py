"""`POST /devices/auto-register` of new devices through the whole stack."""

import itertools
import json

from django.utils import timezone

from benchmarks import client
from benchmarks.beside import compare_with_bare_update
from benchmarks.size import size
from devices.registry.models import Device
from devices.registry.services.credentials import create_enrollment_token
from tenants.context import tenant_scope
from tenants.models import Tenant

SECONDS = size(8.0, quick=1.0)
PORT = 8978
# One request per device; more than the server can handle in the time.
DEVICES = size(40_000, quick=4_000)


def main() -> None:
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="bench", now=timezone.now())
    numbers = itertools.count(1)
    requests = [_request(next(numbers), token) for _ in range(DEVICES)]
    summary = compare_with_bare_update(requests, port=PORT, seconds=SECONDS)
    registered = Device.every_tenant.count()
    print(f"registration: {summary}, {registered:,} devices (target at least 600/s)")


def _request(number: int, token: str) -> bytes:
    body = {
        "serial_number": f"SN-{number:08}",
        "mac_addresses": [f"a8{number:010x}"],
        "manufacturer": "Amlogic",
        "model": "X96",
        "screen_width": 1920,
        "screen_height": 1080,
    }
    return client.post("/devices/auto-register", json.dumps(body).encode(), token)
