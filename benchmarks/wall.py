"""What row security costs: the same requests with it and without it, in turn."""

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

from benchmarks.million import _execute, _member
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.postgresql.base import ScopedCursor
from tenants.postgresql.row_security import scoped_models

JSON = "application/json"
TURNS = 9
CONNECTS = 300
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
    _execute("VACUUM ANALYZE devices_device")
    member, device = _member(tenant), _device(tenant)
    acts: dict[str, tuple[Callable[[], Any], int]] = {
        "connect": (partial(device.post, "/devices/connect", {}, JSON), CONNECTS),
        "list": (partial(member.get, "/devices"), LISTS),
    }
    for name, (act, count) in acts.items():
        act()
        ratios = []
        for _ in range(TURNS):
            with_wall = _timed(act, count)
            with _without_wall():
                act()
                without = _timed(act, count)
            ratios.append(with_wall / without)
        cost = (statistics.median(ratios) - 1) * 100
        print(
            f"wall: {name} {with_wall / count * 1000:.2f} ms with, "
            f"{without / count * 1000:.2f} ms without; it costs {cost:.0f} % "
            "(target at most 10 %)"
        )


def _device(tenant: Tenant) -> Client:
    with tenant_scope(tenant.pk):
        token = renew_device_token(Device.objects.latest("name"), now=timezone.now())
    return Client(headers={"Authorization": f"Bearer {token}"})


def _timed(act: Callable[[], Any], count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        act()
    return time.perf_counter() - begun


@contextmanager
def _without_wall() -> Iterator[None]:
    """Neither policies in the database nor the scope in front of each statement."""
    tables = [model._meta.db_table for model in scoped_models()]
    for table in tables:
        _execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    connection.close()  # plans that were made with it
    plain = psycopg2.extensions.cursor.execute
    with mock.patch.object(ScopedCursor, "execute", plain):
        yield
    connection.close()
    for table in tables:
        _execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
