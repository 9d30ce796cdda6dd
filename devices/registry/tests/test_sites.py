"""Sites: where devices stand."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.db.utils import IntegrityError
from django.test import Client
from rest_framework.test import APIClient

from conftest import client_with_token
from devices.registry.errors import InvalidSite
from devices.registry.models import Device, EnrollmentToken, Site
from devices.registry.services import device_details, sites
from devices.registry.services.credentials import create_enrollment_token
from devices.registry.tests.factories import DeviceFactory, SiteFactory
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

Member = Callable[..., APIClient]
pytestmark = pytest.mark.django_db
SHOP = {
    "name": "Shop 12",
    "address": "Hauptstr. 1, Berlin",
    "latitude": 52.52,
    "longitude": 13.405,
    "time_zone": "Europe/Berlin",
    "contact": "Ms Lang, +49 30 123",
    "opening_hours": [{"days": ["monday"], "from": "09:00", "until": "18:00"}],
    "notes": "Key at the bakery.\nRing twice.",
}


def create(client: APIClient, name: str, **fields: Any) -> str:
    response = client.post("/sites", {"name": name, **fields})
    assert response.status_code == 201, response.json()
    return str(response.json()["id"])


def error(response: Any) -> tuple[int, str, str | None]:
    [first, *_] = response.json()["errors"]
    return response.status_code, first["code"], first["attr"]


def names(response: Any) -> list[str]:
    return sorted(row["name"] for row in response.json()["results"])


def test_a_site_is_created_changed_and_deleted(member: Member) -> None:
    client = member()
    region = create(client, "North")
    created = client.post("/sites", {**SHOP, "parent": "North"}).json()
    path = f"/sites/{created['id']}"

    assert {**SHOP, "parent": region}.items() <= created.items()
    assert names(client.get("/sites")) == ["North", "Shop 12"]
    changed = client.patch(path, {"parent": None, "contact": ""}).json()
    assert (changed["parent"], changed["contact"], changed["name"]) == (None, "", "Shop 12")
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    events = Event.every_tenant.filter(name__startswith="site.").order_by("id")
    assert [event.name for event in events] == [
        "site.created",
        "site.created",
        "site.updated",
        "site.deleted",
    ]
    assert events[2].changes["parent"] == ["North", None]


@pytest.mark.parametrize(
    ("fields", "status", "attr"),
    [
        ({"name": " "}, 400, "name"),
        ({"name": "North"}, 409, "name"),
        ({"latitude": 91, "longitude": 0}, 400, "latitude"),
        ({"latitude": 52}, 400, "longitude"),
        ({"time_zone": "Mars/Olympus"}, 400, "time_zone"),
        ({"parent": "nowhere"}, 400, "parent"),
        ({"opening_hours": [{"days": [], "from": "1", "until": "2"}]}, 400, None),
        (
            {
                "opening_hours": [
                    {"days": ["monday"], "from": "09:00", "until": "18:00"},
                    {"days": ["monday"], "from": "17:00", "until": "19:00"},
                ]
            },
            400,
            "opening_hours",
        ),
    ],
    ids=str,
)
def test_an_invalid_site_is_refused_with_the_field(
    member: Member, fields: dict[str, Any], status: int, attr: str | None
) -> None:
    client = member()
    create(client, "North")

    response = client.post("/sites", {"name": "Shop", **fields})

    assert response.status_code == status
    if attr is not None:
        assert error(response)[2] == attr


def test_sites_have_at_most_three_levels(member: Member) -> None:
    client = member()
    create(client, "Country")
    create(client, "City", parent="Country")
    shop = create(client, "Shop", parent="City")

    assert error(client.post("/sites", {"name": "Shelf", "parent": "Shop"}))[2] == "parent"
    other = create(client, "Continent")
    country = Site.every_tenant.get(name="Country")
    response = client.patch(f"/sites/{country.pk}", {"parent": other})
    assert error(response) == (400, "site_invalid", "parent")
    response = client.patch(f"/sites/{country.pk}", {"parent": shop})
    assert error(response) == (400, "site_invalid", "parent")
    country.refresh_from_db()
    assert country.path == [country.pk]


def test_a_site_moves_with_the_sites_in_it(member: Member) -> None:
    client = member()
    city, shop = create(client, "City"), create(client, "Shop", parent="City")
    region = create(client, "Region")

    assert client.patch(f"/sites/{city}", {"parent": "Region"}).status_code == 200

    path = Site.every_tenant.get(pk=shop).path
    assert list(map(str, path)) == [region, city, shop]


def test_a_site_that_is_used_is_not_deleted(member: Member, device: Device) -> None:
    client = member()
    region, shop = create(client, "North"), create(client, "Shop", parent="North")
    client.patch(f"/devices/{device.pk}", {"site": "Shop"})

    assert error(client.delete(f"/sites/{region}")) == (409, "site_in_use", None)
    assert error(client.delete(f"/sites/{shop}")) == (409, "site_in_use", None)
    client.patch(f"/devices/{device.pk}", {"site": None})
    assert client.delete(f"/sites/{shop}").status_code == 204


def test_what_is_out_of_use_does_not_keep_a_site(
    member: Member, device: Device, tenant: Tenant, now: datetime
) -> None:
    client, site = member(), create(member(), "Shop")
    client.patch(f"/devices/{device.pk}", {"site": site})
    client.delete(f"/devices/{device.pk}")
    rule = {"name": "Hot", "kind": "metric", "measure": "cpu_usage", "threshold": 9}
    for scope in ({"scope": "site", "site": site}, {"name": "Cold"}):
        path = f"/monitoring/rules/{client.post('/monitoring/rules', rule | scope).json()['id']}"
        client.post(f"{path}/overrides", {"site": site, "threshold": 5})
        assert error(client.delete(f"/sites/{site}")) == (409, "site_in_use", None)
        client.delete(path)
    layer = {"scope": "site", "site": site, "document": {"volume": 3}}
    client.post("/configurations", layer)
    assert "configuration" in client.delete(f"/sites/{site}").json()["errors"][0]["detail"]
    client.post("/configurations", {**layer, "document": {}})
    with tenant_scope(tenant.pk):
        token, _ = create_enrollment_token(name="t", site=Site.objects.get(), now=now)
    assert "token t" in client.delete(f"/sites/{site}").json()["errors"][0]["detail"]
    EnrollmentToken.every_tenant.filter(pk=token.pk).update(revoked_at=now)

    assert client.delete(f"/sites/{site}").status_code == 204

    device.refresh_from_db()
    assert device.site is None


def test_a_site_is_put_where_its_parent_is_now(tenant: Tenant, now: datetime) -> None:
    with tenant_scope(tenant.pk):
        region, city = (sites.create(name=name, now=now) for name in ("Region", "City"))
        read_before = Site.objects.get(pk=city.pk)
        sites.change(site=city, parent=region, now=now)

        shop = sites.create(name="Shop", parent=read_before, now=now)
        assert shop.path == [region.pk, city.pk, shop.pk]
        with pytest.raises(InvalidSite):
            sites.change(site=region, parent=read_before, now=now)


def test_a_site_that_was_deleted_meanwhile_is_an_error_and_not_a_crash(
    device: Device, tenant: Tenant, now: datetime
) -> None:
    site = SiteFactory.create(tenant=tenant, name="Shop")
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="t", site=site, now=now)
        Site.objects.filter(pk=site.pk).delete()
        with pytest.raises(InvalidSite):
            device_details.update(device=device, site=site, now=now)
        with pytest.raises(InvalidSite):
            create_enrollment_token(name="u", site=site, now=now)
    client = client_with_token(token)
    registered = client.post("/devices/auto-register", {"serial_number": "SN-1"})
    assert registered.json()["device"]["site"] is None


def test_a_member_sets_the_site_of_a_device(member: Member, device: Device) -> None:
    client = member()
    shop = create(client, "Shop")

    by_name = client.patch(f"/devices/{device.pk}", {"site": "Shop"}).json()
    unchanged = client.patch(f"/devices/{device.pk}", {"site": shop}).json()
    removed = client.patch(f"/devices/{device.pk}", {"site": None}).json()

    assert by_name["site"] == unchanged["site"] == {"id": shop, "name": "Shop"}
    assert removed["site"] is None
    assert error(client.patch(f"/devices/{device.pk}", {"site": "nowhere"}))[2] == "site"
    events = Event.every_tenant.named("device.updated").order_by("id")
    assert [event.changes["site"] for event in events] == [[None, "Shop"], ["Shop", None]]


def test_a_device_is_registered_at_a_site(member: Member) -> None:
    client = member()
    create(client, "Shop")

    device = client.post("/devices", {"serial_number": "SN-1", "site": "Shop"}).json()

    assert device["site"]["name"] == "Shop"


def test_devices_are_listed_by_their_site_and_by_a_region(member: Member, tenant: Tenant) -> None:
    region = SiteFactory.create(tenant=tenant, name="North")
    shop = SiteFactory.create(tenant=tenant, name="Shop", parent=region)
    other = SiteFactory.create(tenant=tenant, name="Other")
    SiteFactory.create(name="Shop")  # of another tenant
    for name, site in (("a", shop), ("b", region), ("c", other), ("d", None)):
        DeviceFactory.create(tenant=tenant, name=name, site=site)
    client = member()

    assert names(client.get("/devices?site=Shop")) == ["a"]
    assert names(client.get(f"/devices?site={region.pk}")) == ["a", "b"]
    assert names(client.get("/devices?site=nowhere")) == []


def test_an_enrollment_token_gives_new_devices_its_tags_and_site(
    tenant: Tenant, now: datetime
) -> None:
    site = SiteFactory.create(tenant=tenant, name="Shop")
    with tenant_scope(tenant.pk):
        _, token = create_enrollment_token(name="t", tags=["new", "hall"], site=site, now=now)
    client = client_with_token(token)

    created = client.post("/devices/auto-register", {"serial_number": "SN-1"}).json()["device"]
    Device.every_tenant.update(site=None)
    again = client.post("/devices/auto-register", {"serial_number": "SN-1"}).json()["device"]

    assert (created["tags"], created["site"]["name"]) == (["hall", "new"], "Shop")
    assert (again["tags"], again["site"]) == (["hall", "new"], None)


def test_a_device_cannot_stand_at_a_site_of_another_tenant(device: Device) -> None:
    foreign = SiteFactory.create()

    with pytest.raises(IntegrityError, match="device_at_its_tenants_site"):
        Device.every_tenant.filter(pk=device.pk).update(site=foreign)
        connection.check_constraints()


@pytest.fixture
def portal(tenant: Tenant) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.OPERATOR).user)
    return client


def test_a_site_is_created_and_changed_in_the_portal(portal: Client, tenant: Tenant) -> None:
    pages = "/admin/devices/site/"
    SiteFactory.create(tenant=tenant, name="North")
    fields = {
        "name": "Shop 12",
        "parent_name": "North",
        "latitude": "52.5",
        "longitude": "13.4",
        "time_zone": "Europe/Berlin",
        "hours_days": ["monday", "friday"],
        "hours_from": "09:00",
        "hours_until": "18:00",
    }

    assert portal.post(f"{pages}add/", fields).status_code == 302
    site = Site.every_tenant.get(name="Shop 12")
    response = portal.post(f"{pages}{site.pk}/change/", {**fields, "parent_name": "Shop 12"})

    assert "A site cannot be in itself." in response.content.decode()
    assert str(site.parent) == "North"
    hours = {"days": ["monday", "friday"], "from": "09:00", "until": "18:00"}
    assert site.opening_hours == [hours]
    page = portal.get(f"{pages}{site.pk}/change/").content.decode()
    assert 'value="North"' in page
    assert 'value="09:00"' in page


def test_the_portal_says_why_a_site_cannot_be_deleted(portal: Client, tenant: Tenant) -> None:
    site = SiteFactory.create(tenant=tenant, name="Shop")
    DeviceFactory.create(tenant=tenant, site=site)

    page = portal.post(f"/admin/devices/site/{site.pk}/delete/", {"post": "yes"}, follow=True)

    assert "1 device is at this site." in page.content.decode()
    assert Site.every_tenant.filter(pk=site.pk).exists()


def test_the_site_of_a_device_is_set_in_the_portal(
    portal: Client, tenant: Tenant, device: Device
) -> None:
    SiteFactory.create(tenant=tenant, name="Shop")
    page = f"/admin/devices/device/{device.pk}/change/"

    unknown = portal.post(page, {"name": device.name, "tags": "", "site_name": "nowhere"})
    portal.post(page, {"name": device.name, "tags": "", "site_name": "Shop"})

    assert "There is no such site." in unknown.content.decode()
    device.refresh_from_db()
    assert str(device.site) == "Shop"
    listed = portal.get(f"/admin/devices/device/?site={device.site_id}").content.decode()
    assert device.name in listed


def test_an_enrollment_token_with_tags_and_a_site_is_created_in_the_portal(tenant: Tenant) -> None:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.ADMIN).user)
    SiteFactory.create(tenant=tenant, name="Shop")
    fields = {"name": "boxes", "tag_names": "new, hall", "site_name": "Shop"}

    page = client.post("/admin/devices/enrollmenttoken/add/", fields)

    assert "enr_" in page.content.decode()
    token = EnrollmentToken.every_tenant.get()
    assert (token.tags, str(token.site)) == (["hall", "new"], "Shop")
    page = client.get(f"/admin/devices/enrollmenttoken/{token.pk}/change/")
    assert "Shop" in page.content.decode()
