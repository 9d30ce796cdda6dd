"""Polls that find nothing new, and a change for a hundred thousand devices beside connects."""

import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import UUID

from django.db import connection
from django.utils import timezone

from benchmarks import load
from benchmarks.connect import bare_table, fleet
from benchmarks.stage import web
from devices.configurations.documents import version_of
from devices.configurations.models import Round
from devices.configurations.services import effective, layers
from devices.configurations.services.layers import Subject
from devices.configurations.services.preview import preview
from devices.registry.models import Device, DeviceTag, NextSteps, Tag
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Tenant

POLLING = 1_000
DEVICES = 100_000
TAGS = 5  # a device in ten wears each; a device in a hundred has a layer of its own
CONNECTIONS = 16
SECONDS = 8.0
SLICE = 3.0  # seconds in which connects are counted
PORT = 8978
WANTED = {"volume": 30, "brightness": 200, "time_zone": "Europe/Berlin"}

FLEET = """
    INSERT INTO devices_device (id, tenant_id, name, model, status, last_seen,
        app_version, os_version, ip_address, registered_at)
    SELECT gen_random_uuid(), %s, 'TV-' || g, 'X96', 'online', now(),
        '2.1.0', '9', '10.0.0.1', now() - interval '30 days'
    FROM generate_series(1, %s) g
"""
WORKER = """
import django, time
django.setup()
from devices.configurations.tasks import recalculate
begun = time.monotonic()
batches = recalculate()
print(batches, time.monotonic() - begun)
"""


def main() -> None:
    secrets = fleet(POLLING)
    tenant = Tenant.objects.get()
    with tenant_scope(tenant.pk):
        layers.save(subject=Subject("tenant"), document=WANTED, now=timezone.now())
        ids = list(Device.objects.values_list("pk", flat=True))
        effective.refresh(ids, now=timezone.now())
    _polls(secrets)
    _change(tenant, secrets)


def _polls(secrets: list[str]) -> None:
    """Devices that have what they should have ask whether there is something new."""
    bare_table()
    etag = f'If-None-Match: "{version_of(WANTED)}"\r\n'
    ours = [
        load.get("/devices/me/configuration", secret, more=etag) for secret in secrets
    ]
    bare = [load.get(f"/select/{number}", "") for number in range(POLLING)]
    ratios = []
    for turn in (1, 2, 3):
        baseline = _measured("benchmarks.bare:application", bare)
        figures = _measured("provisioning.rsgi:app", ours)
        ratios.append(figures.rate / baseline.rate)
        print(
            f"configuration polls {turn}: {figures.rate:,.0f}/s,"
            f" p50 {figures.percentile(0.5):.1f} ms, p99 {figures.percentile(0.99):.1f}"
            f" ms, {figures.failed} failed; bare SELECT {baseline.rate:,.0f}/s;"
            f" ratio {ratios[-1]:.2f}"
        )
    print(f"configuration polls: median ratio {sorted(ratios)[1]:.2f} (target 0.60)")


def _change(tenant: Tenant, secrets: list[str]) -> None:
    """The tenant's layer changes for all its devices, while some of them connect."""
    _fill(tenant)
    body = b'{"app_version": "2.1.0", "os_version": "9"}'
    connects = [load.post("/devices/connect", body, secret) for secret in secrets]
    with web("provisioning.rsgi:app", PORT):
        _connects(connects)  # warm
        alone = [_connects(connects) for _ in range(3)]
        with tenant_scope(tenant.pk):
            document = {**WANTED, "volume": 31}
            layers.save(
                subject=Subject("tenant"), document=document, now=timezone.now()
            )
        begun = time.monotonic()
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True
        )
        beside = list(_while(worker, connects))
        seconds = time.monotonic() - begun
        alone += [_connects(connects) for _ in range(2)]
    assert worker.stdout is not None
    batches, spent = worker.stdout.read().split()
    _check(tenant)
    before, during = sum(alone) / len(alone), sum(beside) / len(beside)
    print(
        f"configuration change: {DEVICES:,} devices in {float(spent):.1f} s and {batches}"
        f" batches (target under 30 s; {seconds:.1f} s with the worker's start); connect"
        f" {during:,.0f}/s beside it and {before:,.0f}/s alone: ratio"
        f" {during / before:.2f} (target 0.70)"
    )
    begun = time.monotonic()
    with tenant_scope(tenant.pk):
        told = preview(subject=Subject("tenant"), document={**WANTED, "volume": 32})
    print(
        f"configuration preview: {told.changing:,} of {told.looked_at:,} devices in"
        f" {time.monotonic() - begun:.2f} s"
    )


def _while(worker: "subprocess.Popen[str]", connects: list[bytes]) -> Iterator[float]:
    """The rates of connects in the slices of time in which the worker works."""
    while worker.poll() is None:
        yield _connects(connects)


def _connects(requests: list[bytes]) -> float:
    return load.run(PORT, requests, connections=CONNECTIONS, seconds=SLICE).rate


def _measured(application: str, requests: list[bytes]) -> load.Figures:
    with web(application, PORT):
        load.run(PORT, requests, connections=CONNECTIONS, seconds=2)  # warm
        return load.run(PORT, requests, connections=CONNECTIONS, seconds=SECONDS)


def _fill(tenant: Tenant) -> None:
    """The other devices, with tags and layers, all of which have what they should have."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(FLEET, [str(tenant.pk), DEVICES - POLLING])
    with tenant_scope(tenant.pk):
        ids: list[UUID] = list(Device.objects.values_list("pk", flat=True))
        for number in range(TAGS):
            tag = Tag.objects.create(name=f"tag-{number}")
            DeviceTag.objects.bulk_create(
                [DeviceTag(device_id=pk, tag=tag) for pk in ids[number::10]],
                batch_size=5_000,
            )
            subject = Subject("tag", tag=tag)
            layers.save(subject=subject, document={"brightness": number}, now=now)
        for number, pk in enumerate(ids[::100]):
            device = Device.objects.get(pk=pk)
            document = {"extra": {"number": number}}
            layers.save(
                subject=Subject("device", device=device), document=document, now=now
            )
        Round.objects.all().delete()
        for start in range(0, len(ids), 2_000):
            effective.refresh(ids[start : start + 2_000], now=now)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _check(tenant: Tenant) -> None:
    """Every device is told what its layers come to."""
    with every_tenant_scope():
        assert not Round.every_tenant.exists()
        told = NextSteps.every_tenant.exclude(configuration_version=None).count()
        old = NextSteps.every_tenant.filter(configuration_version=version_of(WANTED))
        assert (told, old.count()) == (DEVICES, 0)
