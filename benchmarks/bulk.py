"""A bulk operation on many devices, compared with the same rows in bare SQL."""

import time

from django.db import connection, transaction
from django.utils import timezone

from benchmarks.fleet import create_devices
from benchmarks.size import size
from devices.bulk.services import operations
from tenants.context import tenant_scope
from tenants.models import Tenant

DEVICES = size(100_000, quick=5_000)
BARE = """
    WITH tag AS (
        INSERT INTO devices_tag (tenant_id, name) VALUES (%s, 'bare') RETURNING id, tenant_id
    )
    INSERT INTO devices_devicetag (tenant_id, device_id, tag_id)
    SELECT device.tenant_id, device.id, tag.id FROM devices_device device, tag
    WHERE device.tenant_id = tag.tenant_id
"""


def main() -> None:
    create_devices(DEVICES)
    tenant = Tenant.objects.get(slug="bench")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with tenant_scope(tenant.pk):
        bare = _bare(tenant)
        add = _run("add_tags", tags=["lobby"])
        again = _run("add_tags", tags=["lobby"])
        remove = _run("remove_tags", tags=["lobby"])
    print(
        f"bulk: a tag for {DEVICES:,} devices: {add:.1f} s; the rows in one bare statement"
        f" {bare:.1f} s; ratio {add / bare:.1f} (target under 10 s for 100,000)"
    )
    print(f"bulk: the same again, without changes: {again:.1f} s; the tag removed: {remove:.1f} s")


def _bare(tenant: Tenant) -> float:
    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BARE, [tenant.pk])
    return time.perf_counter() - began


def _run(action: str, **parameters: object) -> float:
    """Run an operation on all devices of the current tenant. Return its seconds."""
    began = time.perf_counter()
    operations.start(action=action, parameters=parameters, filter={}, by=None, now=timezone.now())
    while operations.process_next_batch(now=timezone.now()):
        pass
    return time.perf_counter() - began
