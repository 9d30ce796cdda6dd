"""Pages of the portal that show many things at once: the wall of screens, the map, the list."""

import gzip
import io
from datetime import timedelta
from functools import partial
from uuid import uuid4

from django.conf import settings
from django.test import Client
from django.utils import timezone
from PIL import Image

from benchmarks.million import INSERT_DEVICES, execute, report
from benchmarks.size import size
from devices.registry.models import Device, Site
from devices.remote_control.models import CommandHistory, Screenshot
from tenants.models import Membership, Role, Tenant, User

DEVICES = size(100_000, quick=10_000)
SITES = size(5_000, quick=500)
PICTURES = 60  # on one page
LIST = "/admin/devices/device/"


def main() -> None:
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.ALLOWED_HOSTS = ["*"]
    tenant = Tenant.objects.create(slug="portal", name="Portal")
    execute(INSERT_DEVICES, tenant.pk, 1, DEVICES)
    _create_sites(tenant)
    _create_screenshots(tenant)
    for table in ("devices_device", "devices_site", "remote_control_screenshot"):
        execute(f"VACUUM ANALYZE {table}")
    user = User.objects.create_user(f"{uuid4()}@example.com")
    Membership.every_tenant.create(tenant=tenant, user=user, role=Role.OPERATOR)
    client = Client()
    client.force_login(user, backend="tenants.roles.RoleBackend")
    report(f"portal: wall of {PICTURES} screens", partial(client.get, "/admin/screens/"), 500)
    report(f"portal: map of {SITES:,} sites", partial(client.get, "/admin/sites/map.json"), 300)
    report(f"portal: list of {DEVICES:,} devices", partial(client.get, LIST), 300)
    content = client.get(LIST).content
    kilobytes = len(gzip.compress(content, 6)) / 1000
    print(f"  portal: list of devices, compressed {kilobytes:.0f} KB (target below 60 KB)")


def _create_sites(tenant: Tenant) -> None:
    now = timezone.now()
    sites = [
        Site(
            tenant=tenant,
            name=f"Shop {number}",
            latitude=number % 160 - 80,
            longitude=number % 340 - 170,
            created_at=now,
        )
        for number in range(SITES)
    ]
    for site in sites:
        site.path = [site.pk]
    Site.every_tenant.bulk_create(sites)
    execute(
        "UPDATE devices_device AS device SET site_id = site.id FROM ("
        " SELECT id, row_number() OVER (ORDER BY id) AS number FROM devices_site) AS site"
        " WHERE split_part(device.name, '-', 2)::int %% %s + 1 = site.number",
        SITES,
    )


def _create_screenshots(tenant: Tenant) -> None:
    now, file = timezone.now(), io.BytesIO()
    Image.new("RGB", (320, 180), "navy").save(file, "JPEG")
    devices = list(Device.every_tenant.order_by("name", "pk")[: 2 * PICTURES])
    for number, device in enumerate(devices, start=1):
        command = CommandHistory.every_tenant.create(
            tenant=tenant,
            device=device,
            sequence=number,
            type="screenshot",
            issued_at=now,
            expires_at=now,
            due_at=now,
        )
        Screenshot.every_tenant.create(
            tenant=tenant,
            device=device,
            command=command,
            taken_at=now - timedelta(minutes=number),
            content_type="image/jpeg",
            width=320,
            height=180,
            size=len(file.getvalue()),
            image=file.getvalue(),
            thumbnail=file.getvalue(),
        )
