"""`POST /devices/connect` through the whole stack, against one bare UPDATE."""

from django.db import connection
from django.utils import timezone

from benchmarks import load
from benchmarks.stage import web
from devices.registry.models import Device, DeviceToken
from tenants import tokens
from tenants.models import Tenant

DEVICES = 1000
CONNECTIONS = 16
SECONDS = 8.0
PORT = 8977


def main() -> None:
    secrets = fleet(DEVICES)
    bare_table()
    body = b'{"app_version": "2.1.0", "os_version": "9"}'
    ours = [load.post("/devices/connect", body, secret) for secret in secrets]
    bare = [load.post(f"/{number}", body) for number in range(DEVICES)]
    ratios = []
    for turn in (1, 2, 3):
        baseline = _measure("benchmarks.bare:application", bare)
        figures = _measure("provisioning.rsgi:app", ours)
        ratios.append(figures.rate / baseline.rate)
        print(
            f"connect {turn}: {figures.rate:,.0f}/s, p50 {figures.percentile(0.5):.1f} ms,"
            f" p99 {figures.percentile(0.99):.1f} ms, {figures.failed} failed;"
            f" bare {baseline.rate:,.0f}/s; ratio {ratios[-1]:.2f}"
        )
    print(f"connect: median ratio {sorted(ratios)[1]:.2f} (target at least 0.50)")


def _measure(application: str, requests: list[bytes]) -> load.Figures:
    with web(application, PORT):
        load.run(PORT, requests, connections=CONNECTIONS, seconds=2)  # warm
        return load.run(PORT, requests, connections=CONNECTIONS, seconds=SECONDS)


def fleet(size: int) -> list[str]:
    """So many devices that are online; their tokens."""
    now = timezone.now()
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    devices = Device.every_tenant.bulk_create(
        Device(
            tenant=tenant,
            name=f"TV-{number}",
            status="online",
            last_seen=now,
            ip_address="127.0.0.1",
            app_version="2.1.0",
            os_version="9",
            registered_at=now,
        )
        for number in range(size)
    )
    secrets = [tokens.make(DeviceToken.prefix) for _ in devices]
    DeviceToken.every_tenant.bulk_create(
        DeviceToken(
            tenant=tenant, device=device, digest=tokens.digest(secret), issued_at=now
        )
        for device, secret in zip(devices, secrets, strict=True)
    )
    return secrets


def bare_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare (id integer PRIMARY KEY, seen timestamptz)")
        cursor.execute(
            "INSERT INTO bare SELECT g, now() FROM generate_series(0, %s) g", [DEVICES]
        )
