"""The search box of the portal, with a million devices in 100 tenants, and in one tenant."""

from functools import partial
from urllib.parse import quote
from uuid import uuid4

from django.conf import settings
from django.test import Client

from benchmarks.million import INSERT_DEVICES, execute, report
from benchmarks.size import size
from tenants.models import Membership, Role, Tenant, User

DEVICES = size(1_000_000, quick=50_000)
INSERT_IDENTIFIERS = """
    INSERT INTO devices_deviceidentifier (tenant_id, device_id, kind, value)
    SELECT tenant_id, id, kind, CASE kind WHEN 'serial_number' THEN 'sn-' || lower(name)
        ELSE regexp_replace(left(md5(name), 12), '(..)(?=.)', '\\1:', 'g') END
    FROM devices_device, unnest(ARRAY['serial_number', 'mac_address']) kind
    WHERE tenant_id = ANY(%s::uuid[])
"""
TEXTS = ("tv-{}", "sn-tv-{}", "9f:86:d0", "9F86D0", "a0b1", "10.0.0.9", "no such device", "hall")


def main() -> None:
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.ALLOWED_HOSTS = ["*"]
    _measure(tenants=size(100, quick=4), target=150)
    _measure(tenants=1, target=400)


def _measure(*, tenants: int, target: int) -> None:
    """Create devices in new tenants, and search those of the last one."""
    made = [
        Tenant.objects.create(slug=f"search-{tenants}-{number}", name="Search")
        for number in range(tenants)
    ]
    each = DEVICES // tenants
    for number, tenant in enumerate(made):
        execute(INSERT_DEVICES, tenant.pk, number * each + 1, (number + 1) * each)
    execute(INSERT_IDENTIFIERS, [str(tenant.pk) for tenant in made])
    for table in ("device", "deviceidentifier"):
        execute(f"VACUUM ANALYZE devices_{table}")
    user = User.objects.create_user(f"{uuid4()}@example.com")
    Membership.every_tenant.create(tenant=made[-1], user=user, role=Role.VIEWER)
    client = Client()
    client.force_login(user, backend="tenants.roles.RoleBackend")
    words = f"{DEVICES:,} devices in {tenants} tenant{'s' if tenants > 1 else ''}"
    for text in TEXTS:
        term = text.format(DEVICES - 7)
        address = f"/admin/find/?q={quote(term)}"
        report(f"search: {words}: {term}", partial(client.get, address), target)
