"""Measure lists, filters, search and statistics with a million devices of 100 tenants."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.services.tokens import issue_api_token
from benchmarks.size import size
from tenants.context import tenant_scope
from tenants.models import Membership, Role, Tenant, User

TENANTS = size(100, quick=4)
DEVICES = size(1_000_000, quick=50_000)
RUNS = size(40, quick=5)

INSERT_DEVICES = """
    INSERT INTO devices_device (id, tenant_id, name, model, status, last_seen,
        app_version, os_version, ip_address, registered_at)
    SELECT gen_random_uuid(), %s, 'TV-' || g, 'X' || g %% 20,
        (ARRAY['online', 'online', 'offline'])[1 + g %% 3],
        now(), '2.1.0', '9', '10.0.0.1', now() - g * interval '1 second'
    FROM generate_series(%s, %s) g
"""
INSERT_IDENTIFIERS = """
    INSERT INTO devices_deviceidentifier (tenant_id, device_id, kind, value)
    SELECT tenant_id, id, 'serial_number', 'SN-' || name FROM devices_device
"""
INSERT_HARDWARE = """
    INSERT INTO devices_devicehardware (tenant_id, device_id, manufacturer)
    SELECT tenant_id, id, 'Amlogic' FROM devices_device
"""
INSERT_TAGS = """
    INSERT INTO devices_devicetag (tenant_id, device_id, tag_id)
    SELECT d.tenant_id, d.id, t.id FROM devices_device d
    JOIN devices_tag t ON t.tenant_id = d.tenant_id WHERE d.model = 'X7'
"""


def main() -> None:
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.ALLOWED_HOSTS = ["*"]
    tenant = _create_devices()
    client, portal_client = member_client(tenant), _superuser_client()
    bare_times = _measure(_select_one)
    print(f"{DEVICES:,} devices in {TENANTS} tenants; a bare SELECT 1 {bare_times[0]:.2f} ms")
    deep_url = _ten_thousandth_page(client)
    for name, path, target in (
        ("first page", "/devices", 150),
        ("ten-thousandth page", deep_url, 150),
        ("by name", "/devices?ordering=name", 150),
        ("of a model", "/devices?model=X3", 150),
        ("offline", "/devices?status=offline", 150),
        ("with a tag", "/devices?tag=hall", 150),
        ("search, a name", "/devices?search=TV-999", 150),
        ("search, a serial number", "/devices?search=SN-TV-1234", 150),
        ("search, nothing", "/devices?search=no-such-device", 150),
        ("overview", "/devices/stats/overview", 100),
    ):
        report(f"API {name}", partial(client.get, path), target)
    list_url = "/admin/devices/device/"
    for name, query in (
        ("first page", ""),
        ("page 200", "?p=200"),
        ("page 10,000", "?p=10000"),
        ("offline", "?status=offline"),
        ("of a model", "?model=X3"),
        ("search", "?q=SN-TV-1234"),
    ):
        report(f"portal {name}", partial(portal_client.get, list_url + query), 400)
    report("portal overview", partial(portal_client.get, "/admin/"), 400)


def _create_devices() -> Tenant:
    """Create the tenants and devices. Return the last tenant."""
    devices_per_tenant = DEVICES // TENANTS
    for number in range(TENANTS):
        tenant = Tenant.objects.create(slug=f"bench-{number}", name=f"Bench {number}")
        execute("INSERT INTO devices_tag (tenant_id, name) VALUES (%s, 'hall')", tenant.pk)
        execute(
            INSERT_DEVICES,
            tenant.pk,
            number * devices_per_tenant + 1,
            (number + 1) * devices_per_tenant,
        )
    for statement in (INSERT_IDENTIFIERS, INSERT_HARDWARE, INSERT_TAGS):
        execute(statement)
    for table in ("device", "deviceidentifier", "devicehardware", "devicetag"):
        execute(f"VACUUM ANALYZE devices_{table}")
    return tenant


def member_client(tenant: Tenant) -> Client:
    """Return a client with the API token of a new viewer."""
    user = User.objects.create_user(f"{uuid4()}@example.com")
    with tenant_scope(tenant.pk):
        membership = Membership.objects.create(user=user, role=Role.VIEWER)
        _, token = issue_api_token(membership=membership, name="b", now=timezone.now())
    return Client(headers={"Authorization": f"Bearer {token}"})


def _superuser_client() -> Client:
    client = Client()
    client.force_login(
        User.objects.create_superuser(f"{uuid4()}@example.com"), backend="tenants.roles.RoleBackend"
    )
    return client


def _ten_thousandth_page(client: Client) -> str:
    """Return the URL of a page with one device. The page comes after 9,500 other devices."""
    url: str = "/devices?page_size=500"
    for _ in range(19):
        url = client.get(url).json()["next"].split("//testserver")[-1]
    return url.replace("page_size=500", "page_size=1")


def report(name: str, function: Callable[[], Any], target: int) -> None:
    p50, p95 = _measure(function)
    mark = "" if p95 <= target else "  <-- over"
    print(f"{name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms (target {target} ms){mark}")


def _measure(function: Callable[[], Any]) -> tuple[float, float]:
    """Warm up. Return the median and the 95th percentile of the durations in milliseconds."""
    function()
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        response = function()
        times.append((time.perf_counter() - started) * 1000)
        assert getattr(response, "status_code", 200) == 200, response
    times.sort()
    return times[RUNS // 2], times[int(RUNS * 0.95) - 1]


def _select_one() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()


def execute(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
