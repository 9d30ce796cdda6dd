"""The settings of the hawkBit API and its gateway tokens: API, portal and command."""

from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from devices.hawkbit.models import GatewayToken, HawkbitSettings, HawkbitTarget
from devices.hawkbit.services import settings as hawkbit_settings
from devices.hawkbit.services.gateway_tokens import create_gateway_token, find_gateway_token
from devices.registry.models import Device
from events.models import Event
from tenants import tokens
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
PATH = "/hawkbit/settings"


@pytest.fixture
def portal(tenant: Tenant) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=Role.ADMIN).user)
    return client


def test_the_api_is_off_by_default(tenant: Tenant, member: Callable[..., APIClient]) -> None:
    response = member(Role.VIEWER).get(PATH)

    assert response.json() == {"is_enabled": False, "polling_seconds": 60}


def test_an_admin_switches_the_api_on(tenant: Tenant, member: Callable[..., APIClient]) -> None:
    response = member(Role.ADMIN).patch(PATH, {"is_enabled": True, "polling_seconds": 120})

    assert response.json() == {"is_enabled": True, "polling_seconds": 120}
    event = Event.every_tenant.get(name="hawkbit.settings_changed")
    assert event.changes == {"is_enabled": [False, True], "polling_seconds": [60, 120]}


@pytest.mark.parametrize(
    "body", [{"polling_seconds": 29}, {"polling_seconds": 86_400}, {"enabled": True}]
)
def test_wrong_settings_are_refused(
    tenant: Tenant, member: Callable[..., APIClient], body: Any
) -> None:
    assert member(Role.ADMIN).patch(PATH, body).status_code == 400


def test_an_operator_may_not_change_the_settings(
    tenant: Tenant, member: Callable[..., APIClient]
) -> None:
    assert member(Role.OPERATOR).patch(PATH, {"is_enabled": True}).status_code == 403


def test_settings_that_stay_the_same_are_no_event(acting: Tenant, now: datetime) -> None:
    hawkbit_settings.change(is_enabled=True, now=now)
    hawkbit_settings.change(is_enabled=True, now=now)

    assert Event.objects.named("hawkbit.settings_changed").count() == 1


def test_a_command_creates_a_gateway_token(tenant: Tenant) -> None:
    output = StringIO()

    call_command("create_gateway_token", tenant.slug, "--name", "yard", "--register", stdout=output)

    row = GatewayToken.every_tenant.get()
    assert (row.name, row.registers_devices, row.expires_at) == ("yard", True, None)
    assert tokens.matches(output.getvalue().strip(), row.digest)
    assert Event.every_tenant.filter(name="gateway_token.issued", tenant=tenant).exists()


@pytest.mark.parametrize("days", ["0", "-1", "40000"])
def test_a_command_refuses_a_wrong_validity(tenant: Tenant, days: str) -> None:
    with pytest.raises(CommandError):
        call_command("create_gateway_token", tenant.slug, "--expires-days", days)

    assert not GatewayToken.every_tenant.exists()


def test_an_expired_gateway_token_is_not_found(acting: Tenant, now: datetime) -> None:
    _, token = create_gateway_token(name="yard", lifetime=timedelta(hours=1), now=now)
    digest = tokens.digest(token)

    assert find_gateway_token(digest, now=now) is not None
    assert find_gateway_token(digest, now=now + timedelta(hours=2)) is None


def test_the_portal_switches_the_api_on(portal: Client, tenant: Tenant) -> None:
    page = f"/t/{tenant.slug}/admin/hawkbit/hawkbitsettings/"
    form = portal.get(page, follow=True)
    assert form.status_code == 200

    saved = portal.post(f"{page}add/", {"is_enabled": "on", "polling_seconds": "300"}, follow=True)

    assert saved.status_code == 200
    row = HawkbitSettings.every_tenant.get()
    assert (row.tenant, row.is_enabled, row.polling_seconds) == (tenant, True, 300)


def test_the_portal_shows_a_new_gateway_token_once(portal: Client, tenant: Tenant) -> None:
    page = f"/t/{tenant.slug}/admin/hawkbit/gatewaytoken/"

    created = portal.post(f"{page}add/", {"name": "yard", "registers_devices": "on"})

    assert "gwt_" in created.content.decode()
    row = GatewayToken.every_tenant.get()
    assert (row.name, row.registers_devices) == ("yard", True)
    listed = portal.get(page).content.decode()
    assert "yard" in listed
    assert row.digest not in listed


def test_the_page_of_a_device_shows_its_attributes(
    portal: Client, tenant: Tenant, device: Device
) -> None:
    page = f"/t/{tenant.slug}/admin/devices/device/{device.pk}/change/?tab=updates"
    assert "device-hawkbit" not in portal.get(page).content.decode()
    with tenant_scope(tenant.pk):
        HawkbitTarget.objects.create(
            device=device, attributes={"revision": "<2>"}, attributes_at=timezone.now()
        )

    shown = portal.get(page).content.decode()

    assert "device-hawkbit" in shown
    assert "&lt;2&gt;" in shown
