"""Layers of sites, and the time zone of a site."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from devices.configurations.documents import version_of
from devices.configurations.models import Scope
from devices.configurations.services import effective, layers, subscribers
from devices.configurations.services.layers import Subject
from devices.configurations.services.preview import preview
from devices.configurations.tests.documents import (
    add_tag,
    next_steps_of,
    process_rounds,
    save_for_device,
    save_for_tag,
    save_for_tenant,
)
from devices.registry.events import DeviceUpdated, SiteUpdated
from devices.registry.models import Device, Site
from devices.registry.services import device_details, presence, sites
from devices.registry.services.presence import ConnectReport
from devices.registry.tests.factories import DeviceFactory, SiteFactory, TagFactory
from events.domain_events import event_from
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def region(tenant: Tenant) -> Site:
    site: Site = SiteFactory.create(tenant=tenant, name="North")
    return site


@pytest.fixture
def shop(region: Site) -> Site:
    site: Site = SiteFactory.create(tenant=region.tenant, name="Shop", parent=region)
    return site


@pytest.fixture
def at_shop(shop: Site) -> Device:
    device: Device = DeviceFactory.create(tenant=shop.tenant, site=shop)
    return device


def save_for_site(site: Site, document: Any, *, now: datetime) -> None:
    with tenant_scope(site.tenant_id):
        layers.save(subject=Subject(Scope.SITE, site=site), document=document, now=now)


def sources(device: Device) -> dict[str, str]:
    with tenant_scope(device.tenant_id):
        merged, _ = effective.explain(device)
    assert next_steps_of(device).configuration_version == merged.version
    return {key: source.label for key, source in merged.sources.items()}


def deliver(event_class: Any, handler: Callable[[Any], None], tenant: Tenant) -> None:
    """Deliver the last event of a class, as a worker does."""
    with tenant_scope(tenant.pk):
        event = Event.objects.named(event_class.name).order_by("id").last()
        assert event is not None
        handler(event_from(event, event_class))


def test_the_layer_of_a_site_is_between_the_tenants_and_the_tags_layers(
    at_shop: Device, shop: Site, region: Site, now: datetime
) -> None:
    tag = TagFactory.create(tenant=at_shop.tenant, name="hall")
    add_tag(at_shop, tag)
    save_for_tag(tag, {"volume": 4}, now=now)
    save_for_site(shop, {"volume": 3, "brightness": 3, "orientation": "portrait"}, now=now)
    save_for_site(region, {"volume": 2, "brightness": 2, "locale": "de"}, now=now)
    save_for_tenant(at_shop.tenant, {"locale": "en", "extra": {"a": 1}}, now=now)
    process_rounds(now)

    assert sources(at_shop) == {
        "volume": "Tag hall",
        "brightness": "Site Shop",
        "orientation": "Site Shop",
        "locale": "Site North",
        "extra.a": "All devices",
    }


def test_a_devices_own_layer_overrides_the_layer_of_its_site(
    at_shop: Device, shop: Site, now: datetime
) -> None:
    save_for_device(at_shop, {"volume": 9}, now=now)
    save_for_site(shop, {"volume": 3}, now=now)
    process_rounds(now)

    assert sources(at_shop) == {"volume": f"Device {at_shop}"}


def test_a_device_that_moves_gets_the_configuration_of_its_new_site(
    at_shop: Device, shop: Site, tenant: Tenant, now: datetime
) -> None:
    other = SiteFactory.create(tenant=tenant, name="Other")
    save_for_site(shop, {"volume": 3}, now=now)
    save_for_site(other, {"volume": 7}, now=now)
    process_rounds(now)

    with tenant_scope(tenant.pk):
        device_details.update(device=at_shop, site=other, now=now)
    deliver(DeviceUpdated, subscribers.recalculate_after_tag_change, tenant)

    assert next_steps_of(at_shop).configuration_version == version_of({"volume": 7})


def test_the_time_zone_falls_back_to_the_one_of_the_nearest_site(
    at_shop: Device, shop: Site, region: Site, now: datetime
) -> None:
    for site, zone in ((region, "Europe/Berlin"), (shop, "Europe/Paris"), (shop, "")):
        with tenant_scope(site.tenant_id):
            sites.change(site=site, time_zone=zone, now=now)
        deliver(SiteUpdated, subscribers.recalculate_after_site_change, site.tenant)
        process_rounds(now)
        expected = {"time_zone": zone or "Europe/Berlin"}
        assert next_steps_of(at_shop).configuration_version == version_of(expected)
    assert sources(at_shop) == {"time_zone": "Time zone of Shop"}


def test_a_configured_time_zone_overrides_the_one_of_the_site(
    at_shop: Device, shop: Site, now: datetime
) -> None:
    Site.every_tenant.filter(pk=shop.pk).update(time_zone="Europe/Paris")
    save_for_tenant(at_shop.tenant, {"time_zone": "Asia/Tokyo"}, now=now)
    process_rounds(now)

    assert sources(at_shop) == {"time_zone": "All devices"}


def test_a_new_device_gets_the_time_zone_of_its_site_with_its_first_connect(
    at_shop: Device, shop: Site, now: datetime
) -> None:
    Site.every_tenant.filter(pk=shop.pk).update(time_zone="Europe/Paris")

    with tenant_scope(at_shop.tenant_id):
        steps = presence.connect(device=at_shop, report=ConnectReport(), now=now)

    assert steps["configuration_version"] == version_of({"time_zone": "Europe/Paris"})


def test_a_preview_shows_what_the_layer_of_a_site_would_change(
    at_shop: Device, shop: Site, region: Site, tenant: Tenant, now: datetime
) -> None:
    in_region = DeviceFactory.create(tenant=tenant, site=region)
    DeviceFactory.create(tenant=tenant)
    save_for_site(shop, {"volume": 3}, now=now)
    save_for_site(region, {"brightness": 1}, now=now)
    process_rounds(now)

    with tenant_scope(tenant.pk):
        result = preview(
            subject=Subject(Scope.SITE, site=region), document={"volume": 5, "brightness": 2}
        )

    assert (result.looked_at, result.changing) == (2, 2)
    assert dict(result.keys) == {"brightness": 2, "volume": 1}
    assert {item.device_id for item in result.devices} == {at_shop.pk, in_region.pk}


def test_a_preview_knows_the_time_zone_of_the_site(
    at_shop: Device, shop: Site, tenant: Tenant, now: datetime
) -> None:
    Site.every_tenant.filter(pk=shop.pk).update(time_zone="Europe/Paris")
    own_zone = DeviceFactory.create(tenant=tenant)

    with tenant_scope(tenant.pk):
        for subject, changing in (
            (Subject(Scope.TENANT), [own_zone.pk]),
            (Subject(Scope.DEVICE, device=at_shop), []),
        ):
            result = preview(subject=subject, document={"time_zone": "Europe/Paris"})
            assert [item.device_id for item in result.devices] == changing


def test_the_layer_of_a_site_is_saved_and_read_over_the_api(
    member: Callable[..., APIClient], shop: Site
) -> None:
    client = member()
    body = {"scope": "site", "site": "Shop", "document": {"volume": 3}}

    created = client.post("/configurations", body)
    listed = client.get("/configurations?scope=site").json()["results"]

    assert created.status_code == 201
    assert [row["site"] for row in listed] == [str(shop.pk)]
    unknown = client.post("/configurations", {**body, "site": "nowhere"})
    assert unknown.json()["errors"][0]["attr"] == "site"
    without = client.post("/configurations", {"scope": "site", "document": {}})
    assert without.json()["errors"][0]["attr"] == "site"


def test_the_portal_lists_the_layers_of_sites_and_edits_them(
    tenant: Tenant, shop: Site, now: datetime
) -> None:
    save_for_site(shop, {"volume": 3}, now=now)
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.OPERATOR).user)

    listed = client.get("/admin/configurations/deviceconfiguration/").content.decode()
    editor = client.get(f"/admin/configurations/deviceconfiguration/edit/site/{shop.pk}/")

    assert "Site North / Shop" in listed
    assert "Add a layer for a site:" in listed
    assert "Configuration: Site Shop" in editor.content.decode()


def test_the_first_site_with_a_time_zone_concerns_new_devices_at_once(
    tenant: Tenant, now: datetime
) -> None:
    def version(device: Device) -> object:
        with tenant_scope(tenant.pk):
            return presence.connect(device=device, report=ConnectReport(), now=now)[
                "configuration_version"
            ]

    assert version(DeviceFactory.create(tenant=tenant)) is None
    with tenant_scope(tenant.pk):
        site = sites.create(name="Berlin", time_zone="Europe/Berlin", now=now)
    device = DeviceFactory.create(tenant=tenant, site=site)
    assert version(device) == version_of({"time_zone": "Europe/Berlin"})
