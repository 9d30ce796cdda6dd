"""The overhead of row-level security, measured with the same requests with and without it."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import psycopg2.extensions
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from benchmarks.million import execute, member_client
from benchmarks.size import size
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.postgresql.base import ScopedCursor
from tenants.postgresql.row_security import scoped_models

JSON = "application/json"
RUNS = size(9, quick=1)
CONNECTS = size(300, quick=30)
LISTS = 30
DEVICES = 2_000


def main() -> None:
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.ALLOWED_HOSTS = ["*"]
    tenant = Tenant.objects.create(slug="bench", name="Bench")
    Device.every_tenant.bulk_create(
        Device(tenant=tenant, name=f"TV-{number}", registered_at=timezone.now())
        for number in range(DEVICES)
    )
    execute("VACUUM ANALYZE devices_device")
    member, device = member_client(tenant), _device_client(tenant)
    requests: dict[str, tuple[Callable[[], Any], int]] = {
        "connect": (partial(device.post, "/devices/connect", {}, JSON), CONNECTS),
        "list": (partial(member.get, "/devices"), LISTS),
    }
    for name, (request, count) in requests.items():
        request()
        ratios = []
        for _ in range(RUNS):
            with_security = _measure(request, count)
            with _without_row_security():
                request()
                without_security = _measure(request, count)
            ratios.append(with_security / without_security)
        overhead = (statistics.median(ratios) - 1) * 100
        print(
            f"row security: {name} {with_security / count * 1000:.2f} ms with, "
            f"{without_security / count * 1000:.2f} ms without; overhead {overhead:.0f} % "
            "(target at most 10 %)"
        )


def _device_client(tenant: Tenant) -> Client:
    with tenant_scope(tenant.pk):
        token = renew_device_token(Device.objects.latest("name"), now=timezone.now())
    return Client(headers={"Authorization": f"Bearer {token}"})


def _measure(request: Callable[[], Any], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        request()
    return time.perf_counter() - started


@contextmanager
def _without_row_security() -> Iterator[None]:
    """Disable the policies in the database. Do not set the scope before each statement."""
    tables = [model._meta.db_table for model in scoped_models()]
    for table in tables:
        execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    connection.close()  # discards the plans made with the policies
    unscoped_execute = psycopg2.extensions.cursor.execute
    with mock.patch.object(ScopedCursor, "execute", unscoped_execute):
        yield
    connection.close()
    for table in tables:
        execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
