"""New hardware that takes over a record, and devices that move to another tenant."""

import io
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from conftest import client_with_token
from devices.configurations.models import ConfigurationVersion, DeviceConfiguration
from devices.configurations.tests.documents import save_for_device
from devices.monitoring.models import MonitoringRule, RuleOverride
from devices.monitoring.tests.factories import RuleFactory
from devices.preferences.models import DeviceSettings
from devices.registry.models import Device
from devices.registry.services.credentials import issue_device_token
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory, SiteFactory
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory, TenantFactory

Member = Callable[..., APIClient]
pytestmark = pytest.mark.django_db


@pytest.fixture
def failed(tenant: Tenant) -> Device:
    site = SiteFactory.create(tenant=tenant, name="Shop")
    device: Device = DeviceFactory.create(tenant=tenant, name="Lobby", site=site)
    return device


@pytest.fixture
def new(tenant: Tenant) -> Device:
    device: Device = DeviceFactory.create(tenant=tenant, name="SN-2")
    return device


def replace(client: APIClient, failed: Device, by: Any) -> Any:
    return client.post(f"/devices/{failed.pk}/replace", {"replacement": str(by)})


def test_new_hardware_takes_over_the_record_of_the_device_that_failed(
    member: Member, failed: Device, new: Device
) -> None:
    client = member()
    client.patch(f"/devices/{failed.pk}", {"tags": ["hall"]})
    client.patch(f"/devices/{new.pk}", {"tags": ["new"]})

    response = replace(client, failed, new.pk)

    assert response.status_code == 200, response.json()
    successor, old = response.json(), client.get(f"/devices/{failed.pk}").json()
    assert (successor["id"], successor["name"]) == (str(new.pk), "Lobby")
    assert (successor["site"]["name"], successor["tags"]) == ("Shop", ["hall", "new"])
    assert (successor["replaces"], successor["replaced_by"]) == (str(failed.pk), None)
    assert (old["status"], old["replaced_by"]) == ("retired", str(new.pk))
    event = Event.every_tenant.named("device.replaced").get()
    assert (event.device_id, event.data["successor_id"]) == (failed.pk, str(new.pk))


def test_the_configuration_rules_and_settings_go_to_the_new_hardware(
    member: Member, failed: Device, new: Device, tenant: Tenant, now: datetime
) -> None:
    save_for_device(failed, {"volume": 3}, now=now)
    rule = RuleFactory.create(tenant=tenant, scope="device", device=failed)
    other_rule = RuleFactory.create(tenant=tenant)
    create: Any = RuleOverride.every_tenant.create
    create(tenant=tenant, rule=other_rule, device=failed, threshold=50)
    create(tenant=tenant, rule=rule, device=failed, threshold=50)
    own = create(tenant=tenant, rule=rule, device=new, threshold=60)
    for device, key, value in ((failed, "a", 1), (failed, "b", 2), (new, "b", 3)):
        DeviceSettings.every_tenant.create(
            tenant=tenant, device=device, key=key, value=value, updated_at=now
        )

    assert replace(member(), failed, new.pk).status_code == 200

    layer = DeviceConfiguration.every_tenant.get(device=new)
    assert layer.document == {"volume": 3}
    assert (
        ConfigurationVersion.every_tenant.get(configuration=layer).note
        == "From Lobby, which this device replaces"
    )
    assert MonitoringRule.every_tenant.get(pk=rule.pk).device == new
    overrides = RuleOverride.every_tenant.filter(device=new).order_by("threshold")
    assert [(item.rule, item.threshold) for item in overrides] == [(other_rule, 50), (rule, 60)]
    assert own in overrides
    settings = DeviceSettings.every_tenant.filter(device=new).order_by("key")
    assert [(row.key, row.value) for row in settings] == [("a", 1), ("b", 3)]


def test_a_device_that_is_retired_already_can_be_replaced(
    member: Member, failed: Device, new: Device
) -> None:
    client = member()
    client.delete(f"/devices/{failed.pk}")

    assert replace(client, failed, new.pk).json()["name"] == "Lobby"


def test_a_replacement_that_is_not_possible_is_refused(
    member: Member, failed: Device, new: Device, tenant: Tenant
) -> None:
    client, third = member(), DeviceFactory.create(tenant=tenant)
    foreign = DeviceFactory.create()

    assert replace(client, failed, failed.pk).json()["errors"][0]["attr"] == "replacement"
    assert replace(client, failed, foreign.pk).status_code == 404
    assert replace(client, failed, new.pk).status_code == 200
    assert replace(client, failed, third.pk).json()["errors"][0]["code"] == "cannot_replace"
    assert replace(client, third, new.pk).json()["errors"][0]["code"] == "cannot_replace"
    assert replace(client, third, failed.pk).json()["errors"][0]["code"] == "device_retired"


def test_a_viewer_may_not_replace_a_device(member: Member, failed: Device, new: Device) -> None:
    assert replace(member(Role.VIEWER), failed, new.pk).status_code == 403


def test_a_device_is_replaced_in_the_portal(tenant: Tenant, failed: Device, new: Device) -> None:
    DeviceIdentifierFactory.create(device=new, written="SN-2")
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.OPERATOR).user)
    page = f"/admin/devices/device/{failed.pk}/replace/"

    form = client.get(page).content.decode()
    nothing = client.post(page, {"replacement": ""}).content.decode()
    done = client.post(page, {"replacement": str(new.pk)}, follow=True)

    assert "SN-2 (SN-2)" in form
    assert "Choose the new device." in nothing
    assert f"/admin/devices/device/{failed.pk}/change/" in done.content.decode()
    new.refresh_from_db()
    assert new.name == "Lobby"


def move(device: Device, slug: str) -> dict[str, Any]:
    output = io.StringIO()
    call_command("move_device", str(device.pk), slug, "--json", stdout=output)
    result: dict[str, Any] = json.loads(output.getvalue())
    return result


def test_a_moved_device_has_a_new_record_in_the_other_tenant(
    tenant: Tenant, failed: Device, now: datetime
) -> None:
    other = TenantFactory.create(slug="other")
    DeviceIdentifierFactory.create(device=failed, written="SN-1")
    with tenant_scope(tenant.pk):
        old_token = issue_device_token(failed, now=now)

    result = move(failed, "other")

    moved = Device.every_tenant.get(pk=result["device"])
    assert (moved.tenant, moved.name, moved.site) == (other, "Lobby", None)
    failed.refresh_from_db()
    assert (failed.status, failed.tenant) == ("retired", tenant)
    assert client_with_token(old_token).post("/devices/connect", {}).status_code == 401
    me = client_with_token(result["token"]).get("/devices/me").json()
    assert (me["id"], me["serial_number"]) == (str(moved.pk), "SN-1")


def test_nothing_changes_if_the_other_tenant_has_the_device_already(
    failed: Device, now: datetime
) -> None:
    other = TenantFactory.create(slug="other")
    DeviceIdentifierFactory.create(device=failed, written="SN-1")
    known = DeviceFactory.create(tenant=other)
    DeviceIdentifierFactory.create(device=known, written="SN-1")

    with pytest.raises(CommandError):
        move(failed, "other")

    failed.refresh_from_db()
    assert failed.status == "offline"


def test_a_device_does_not_move_to_its_own_tenant(failed: Device) -> None:
    with pytest.raises(CommandError, match="already"):
        move(failed, failed.tenant.slug)
