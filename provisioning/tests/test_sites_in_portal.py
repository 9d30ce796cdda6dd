"""The map of sites, and the page and the list of sites."""

import csv
import io
from datetime import datetime
from typing import Any

import pytest
from django.test import Client, override_settings

from devices.configurations.models import Scope
from devices.configurations.services import layers
from devices.monitoring.tests.factories import AlertFactory
from devices.registry.device_report import DeviceReport
from devices.registry.models import Site
from devices.registry.services import pairing
from devices.registry.tests.factories import DeviceFactory, SiteFactory
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
MAP = "/admin/sites/map/"
DATA = "/admin/sites/map.json"
SITES = "/admin/devices/site/"


def signed_in(tenant: Tenant, role: Role = Role.VIEWER) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
    return client


@pytest.fixture
def shop(tenant: Tenant, now: datetime) -> Site:
    """Return a site with three devices: one online, one offline with an alert, one new."""
    region = SiteFactory.create(tenant=tenant, name="North")
    shop: Site = SiteFactory.create(
        tenant=tenant, name="<b>Shop</b>", parent=region, latitude=52.5, longitude=13.4
    )
    DeviceFactory.create(tenant=tenant, site=shop, status="online", last_seen=now)
    offline = DeviceFactory.create(tenant=tenant, site=shop, name="Broken", last_seen=now)
    DeviceFactory.create(tenant=tenant, site=shop)
    AlertFactory.create(tenant=tenant, device=offline, title="Silent")
    return shop


def test_the_map_has_the_state_of_each_site_with_coordinates(tenant: Tenant, shop: Site) -> None:
    SiteFactory.create(tenant=TenantFactory.create(), latitude=1, longitude=1)
    client = signed_in(tenant)

    sites = client.get(DATA).json()["sites"]
    page = client.get(MAP).content.decode()

    assert sites == [[str(shop.pk), "<b>Shop</b>", 52.5, 13.4, 1, 1, 1, 1]]
    assert "1 site has no coordinates" in page
    assert "world-atlas" in page


def test_an_empty_map_says_what_to_do_next(tenant: Tenant) -> None:
    assert "Add a site" in signed_in(tenant).get(MAP).content.decode()


def test_a_tile_server_is_allowed_by_the_content_policy(tenant: Tenant, shop: Site) -> None:
    client = signed_in(tenant)
    assert "tiles.example.com" not in client.get(MAP)["Content-Security-Policy"]
    with override_settings(MAP_TILES_URL="https://tiles.example.com/{z}/{x}/{y}.png"):
        response = client.get(MAP)

    assert "img-src 'self' https://tiles.example.com data:" in response["Content-Security-Policy"]
    assert "https://tiles.example.com/{z}/{x}/{y}.png" in response.content.decode()


def test_the_page_of_a_site_shows_its_devices_alerts_screens_and_configuration(
    tenant: Tenant, shop: Site, now: datetime
) -> None:
    shop.opening_hours = [{"days": ["sunday"], "from": "09:00", "until": "18:00"}]
    shop.save()
    with tenant_scope(tenant.pk):
        subject = layers.Subject(Scope.SITE, site=shop)
        layers.save(subject=subject, document={"extra": {"colour": "blue"}}, now=now)

    page = signed_in(tenant).get(f"{SITES}{shop.pk}/change/").content.decode()

    assert f"?site={shop.pk}&amp;status=never_connected" in page
    assert "Silent" in page
    assert "No screenshot yet" in page
    assert "blue" in page
    assert "Sunday 09:00 to 18:00" in page


def test_the_page_of_a_region_includes_the_sites_in_it(tenant: Tenant, shop: Site) -> None:
    assert shop.parent is not None

    page = signed_in(tenant).get(f"{SITES}{shop.parent.pk}/change/").content.decode()

    assert "Silent" in page


def test_sites_are_exported_with_their_devices(tenant: Tenant, shop: Site) -> None:
    client = signed_in(tenant)
    response: Any = client.get(f"{SITES}export/?place=known")
    text = b"".join(response.streaming_content).decode("utf-8-sig")

    (row,) = csv.DictReader(io.StringIO(text))

    assert (row["parent"], row["devices"], row["online"]) == ("North", "3", "1")
    assert "1 of 3 online" in client.get(SITES).content.decode()


def test_a_paired_device_gets_its_site(tenant: Tenant, shop: Site, now: datetime) -> None:
    codes = pairing.start(report=DeviceReport(serial_number="SN-77"), now=now)
    row = pairing.find(codes.user_code, now=now)
    with tenant_scope(tenant.pk):
        device = pairing.approve(pairing_id=row.pk, site=shop, now=now)

    assert device.site_id == shop.pk


def test_open_alerts_are_listed_first_and_can_be_filtered_by_site(
    tenant: Tenant, shop: Site, now: datetime
) -> None:
    AlertFactory.create(tenant=tenant, title="Long gone", closed_at=now, settled_at=now)
    AlertFactory.create(tenant=tenant, title="Elsewhere")
    client = signed_in(tenant)
    alerts = "/admin/monitoring/alert/"

    assert "Long gone" not in client.get(alerts).content.decode()
    assert "Long gone" in client.get(f"{alerts}?state=all").content.decode()
    of_site = client.get(f"{alerts}?site={shop.pk}").content.decode()
    assert "Silent" in of_site
    assert "Elsewhere" not in of_site


@pytest.mark.parametrize(("path", "entry"), [(MAP, "Sites"), (f"{SITES}add/", "Sites")])
def test_the_menu_has_ten_entries_and_marks_the_section(
    tenant: Tenant, path: str, entry: str
) -> None:
    response = signed_in(tenant, Role.OWNER).get(path)

    (group,) = response.context["sidebar_navigation"]
    titles = [item["title"] for item in group["items"]]
    assert titles == [
        "Overview",
        "Devices",
        "Sites",
        "Screens",
        "Alerts",
        "Configuration",
        "Updates",
        "Certificates",
        "Activity",
        "Settings",
    ]
    assert [item["title"] for item in group["items"] if item["active"]] == [entry]


@pytest.mark.parametrize("path", ["/static/portal/portal.css", SITES, DATA])
def test_text_is_compressed_without_a_proxy(tenant: Tenant, path: str) -> None:
    response: Any = signed_in(tenant).get(path, headers={"Accept-Encoding": "gzip"})

    is_small = path == DATA and len(response.content) < 200
    assert response.headers.get("Content-Encoding", "") == ("" if is_small else "gzip")
    response.close()


def test_answers_of_the_api_are_not_compressed(member: Any, tenant: Tenant) -> None:
    for _ in range(20):
        DeviceFactory.create(tenant=tenant)

    response = member().get("/devices", headers={"Accept-Encoding": "gzip"})

    assert "Content-Encoding" not in response.headers
