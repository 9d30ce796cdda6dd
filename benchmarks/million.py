"""Lists, filters, search and figures over a million devices of a hundred tenants."""

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
from tenants.context import tenant_scope
from tenants.models import Membership, Role, Tenant, User

TENANTS = 100
DEVICES = 1_000_000
TURNS = 40

FLEET = """
    INSERT INTO devices_device (id, tenant_id, name, model, status, last_seen,
        app_version, os_version, ip_address, registered_at)
    SELECT gen_random_uuid(), %s, 'TV-' || g, 'X' || g %% 20,
        (ARRAY['online', 'online', 'offline'])[1 + g %% 3],
        now(), '2.1.0', '9', '10.0.0.1', now() - g * interval '1 second'
    FROM generate_series(%s, %s) g
"""
IDENTIFIERS = """
    INSERT INTO devices_deviceidentifier (tenant_id, device_id, kind, value)
    SELECT tenant_id, id, 'serial_number', 'SN-' || name FROM devices_device
"""
HARDWARE = """
    INSERT INTO devices_devicehardware (tenant_id, device_id, manufacturer)
    SELECT tenant_id, id, 'Amlogic' FROM devices_device
"""
TAGS = """
    INSERT INTO devices_devicetag (tenant_id, device_id, tag_id)
    SELECT d.tenant_id, d.id, t.id FROM devices_device d
    JOIN devices_tag t ON t.tenant_id = d.tenant_id WHERE d.model = 'X7'
"""


def main() -> None:
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.ALLOWED_HOSTS = ["*"]
    tenant = _fleet()
    client, portal = _member(tenant), _superuser()
    least = _timed(_select_one)
    print(
        f"{DEVICES:,} devices in {TENANTS} tenants; a bare SELECT 1 {least[0]:.2f} ms"
    )
    deep = _ten_thousandth_page(client)
    for name, path, target in (
        ("first page", "/devices", 150),
        ("ten-thousandth page", deep, 150),
        ("by name", "/devices?ordering=name", 150),
        ("of a model", "/devices?model=X3", 150),
        ("offline", "/devices?status=offline", 150),
        ("with a tag", "/devices?tag=hall", 150),
        ("search, a name", "/devices?search=TV-999", 150),
        ("search, a serial number", "/devices?search=SN-TV-1234", 150),
        ("search, nothing", "/devices?search=no-such-box", 150),
        ("overview", "/devices/stats/overview", 100),
    ):
        _report(f"API {name}", partial(client.get, path), target)
    listed = "/admin/devices/device/"
    for name, query in (
        ("first page", ""),
        ("page 200", "?p=200"),
        ("page 10,000", "?p=10000"),
        ("offline", "?status__exact=offline"),
        ("of a model", "?model=X3"),
        ("search", "?q=SN-TV-1234"),
    ):
        _report(f"portal {name}", partial(portal.get, listed + query), 400)
    _report("portal overview", partial(portal.get, "/admin/"), 400)


def _fleet() -> Tenant:
    each = DEVICES // TENANTS
    for number in range(TENANTS):
        tenant = Tenant.objects.create(slug=f"bench-{number}", name=f"Bench {number}")
        _execute(
            "INSERT INTO devices_tag (tenant_id, name) VALUES (%s, 'hall')", tenant.pk
        )
        _execute(FLEET, tenant.pk, number * each + 1, (number + 1) * each)
    for statement in (IDENTIFIERS, HARDWARE, TAGS):
        _execute(statement)
    for table in ("device", "deviceidentifier", "devicehardware", "devicetag"):
        _execute(f"VACUUM ANALYZE devices_{table}")
    return tenant


def _member(tenant: Tenant) -> Client:
    user = User.objects.create_user(f"{uuid4()}@example.com")
    with tenant_scope(tenant.pk):
        membership = Membership.objects.create(user=user, role=Role.VIEWER)
        _, token = issue_api_token(membership=membership, name="b", now=timezone.now())
    return Client(headers={"Authorization": f"Bearer {token}"})


def _superuser() -> Client:
    client = Client()
    client.force_login(
        User.objects.create_superuser(f"{uuid4()}@example.com"),
        backend="tenants.roles.RoleBackend",
    )
    return client


def _ten_thousandth_page(client: Client) -> str:
    """Of one device each, by way of large ones."""
    url: str = "/devices?page_size=500"
    for _ in range(19):
        url = client.get(url).json()["next"].split("//testserver")[-1]
    return url.replace("page_size=500", "page_size=1")


def _report(name: str, act: Callable[[], Any], target: int) -> None:
    p50, p95 = _timed(act)
    good = "" if p95 <= target else "  <-- over"
    print(f"{name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms (target {target} ms){good}")


def _timed(act: Callable[[], Any]) -> tuple[float, float]:
    """Median and 95th percentile in milliseconds; the first turn warms up."""
    act()
    spent = []
    for _ in range(TURNS):
        begun = time.perf_counter()
        answer = act()
        spent.append((time.perf_counter() - begun) * 1000)
        assert getattr(answer, "status_code", 200) == 200, answer
    spent.sort()
    return spent[TURNS // 2], spent[int(TURNS * 0.95) - 1]


def _select_one() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()


def _execute(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
