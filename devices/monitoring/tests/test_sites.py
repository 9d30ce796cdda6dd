"""Rules and overrides for sites."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.monitoring.services import back_testing
from devices.monitoring.services.rules import Conditions
from devices.monitoring.tests.evaluating import evaluate
from devices.monitoring.tests.factories import RuleFactory
from devices.monitoring.tests.test_evaluation import report_cpu
from devices.registry.models import Device, DeviceTag, Site
from devices.registry.tests.factories import DeviceFactory, SiteFactory, TagFactory
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
CPU = {"name": "CPU", "kind": "metric", "measure": "cpu_usage", "threshold": 90}


@pytest.fixture
def region(tenant: Tenant) -> Site:
    site: Site = SiteFactory.create(tenant=tenant, name="North")
    return site


@pytest.fixture
def shop(region: Site) -> Site:
    site: Site = SiteFactory.create(tenant=region.tenant, name="Shop", parent=region)
    return site


def create_device(tenant: Tenant, site: Site | None) -> Device:
    device: Device = DeviceFactory.create(tenant=tenant, status="online", site=site)
    return device


def test_a_rule_for_a_region_is_about_the_devices_at_its_sites(
    tenant: Tenant, region: Site, shop: Site, now: datetime
) -> None:
    RuleFactory.create(tenant=tenant, scope="site", site=region)
    other = SiteFactory.create(tenant=tenant)
    fleet = [create_device(tenant, site) for site in (region, shop, other, None)]
    for device in fleet:
        report_cpu(device, now, 95)

    evaluate(tenant, now)

    alerted = set(Alert.every_tenant.values_list("device", flat=True))
    assert alerted == {device.pk for device in fleet[:2]}
    Device.every_tenant.update(site=None)
    assert evaluate(tenant, now).closed == 2


def test_the_override_of_the_nearest_site_applies(
    tenant: Tenant, region: Site, shop: Site, now: datetime
) -> None:
    rule = RuleFactory.create(tenant=tenant, threshold=90)
    tag = TagFactory.create(tenant=tenant, name="hall")
    in_region, at_shop, tagged, own = (
        create_device(tenant, site) for site in (region, shop, shop, shop)
    )
    DeviceTag.every_tenant.create(tenant=tenant, device=tagged, tag=tag)
    create = RuleOverride.every_tenant.create
    create(tenant=tenant, rule=rule, site=region, threshold=50, severity="low")
    create(tenant=tenant, rule=rule, site=shop, threshold=70)
    create(tenant=tenant, rule=rule, tag=tag, threshold=80)
    create(tenant=tenant, rule=rule, device=own, is_enabled=False)
    values = {in_region: 60, at_shop: 75, tagged: 75, own: 99}
    for device, value in values.items():
        report_cpu(device, now, value)

    evaluate(tenant, now)

    alerts = {alert.device: alert.severity for alert in Alert.every_tenant.all()}
    assert alerts == {in_region: "low", at_shop: "low"}
    with tenant_scope(tenant.pk):
        conditions = Conditions(rule)
        assert [conditions.of(device.pk).threshold for device in values] == [50, 70, 80, 70]
        assert conditions.is_disabled(own.pk)
        assert back_testing.back_test(rule, days=1, now=now).complete


def test_rules_and_overrides_for_sites_are_created_over_the_api(
    member: Callable[..., APIClient], shop: Site, tenant: Tenant
) -> None:
    client, device = member(), create_device(tenant, shop)
    rule = client.post("/monitoring/rules", {**CPU, "scope": "site", "site": "Shop"})
    assert rule.status_code == 201, rule.json()
    path = f"/monitoring/rules/{rule.json()['id']}"

    override = client.post(f"{path}/overrides", {"site": str(shop.pk), "threshold": 50})

    assert (rule.json()["site"], override.json()["site"]) == (str(shop.pk), str(shop.pk))
    [applied] = client.get(f"/devices/{device.pk}/monitoring").json()["rules"]
    assert (applied["threshold"], applied["sources"]["threshold"]) == (50, "site Shop")


@pytest.mark.parametrize(
    ("fields", "attr"),
    [({"scope": "site"}, "site"), ({"scope": "site", "site": "nowhere"}, "site")],
)
def test_a_rule_for_a_site_needs_a_known_site(
    member: Callable[..., APIClient], fields: dict[str, Any], attr: str
) -> None:
    response = member().post("/monitoring/rules", {**CPU, **fields})

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == attr


def test_a_rule_for_a_site_is_created_in_the_portal(tenant: Tenant, shop: Site) -> None:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.OPERATOR).user)
    fields = {**CPU, "severity": "high", "scope": "site", "site_name": "Shop"}
    fields |= {"weekdays": ["1"], "time_zone": "UTC", "is_enabled": "on"}

    assert client.post("/admin/monitoring/monitoringrule/add/", fields).status_code == 302

    rule = MonitoringRule.every_tenant.get()
    assert rule.site == shop
    page = client.get("/admin/monitoring/monitoringrule/").content.decode()
    assert "site Shop" in page
    client.post(
        "/admin/monitoring/ruleoverride/add/",
        {"rule": str(rule.pk), "site_name": "Shop", "threshold": "50"},
    )
    assert RuleOverride.every_tenant.get().site == shop
