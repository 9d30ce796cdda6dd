"""Portal pages of preferences and settings."""

from datetime import datetime
from typing import Any

import pytest
from django.test import Client

from devices.preferences.models import DeviceSettings, PlatformPreference, PreferenceDefinition
from devices.preferences.services import definitions
from devices.registry.models import Device
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
PAGES = "/admin/preferences/preferencedefinition/"


def signed_in_client(tenant: Tenant, role: Role) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
    return client


@pytest.fixture
def admin(tenant: Tenant) -> Client:
    return signed_in_client(tenant, Role.ADMIN)


@pytest.fixture
def size(tenant: Tenant, now: datetime) -> PreferenceDefinition:
    with tenant_scope(tenant.pk):
        return definitions.define(
            key="size", kind="integer", minimum=1, maximum=9, default=5, now=now
        )


def text(response: Any) -> str:
    return " ".join(response.content.decode().split())


def test_a_preference_can_be_created_changed_and_deleted(admin: Client, tenant: Tenant) -> None:
    data = {"key": "mode", "kind": "choice", "choices": "day\nnight", "default": "day"}
    admin.post(f"{PAGES}add/", data)
    row = PreferenceDefinition.every_tenant.get(tenant=tenant)
    assert (row.choices, row.default, row.device_may_write) == (["day", "night"], "day", False)
    page = f"{PAGES}{row.pk}/change/"
    assert 'value="day"' in text(admin.get(page))
    admin.post(page, {**data, "default": "night", "device_may_write": "on"})
    row.refresh_from_db()
    assert (row.default, row.device_may_write) == ("night", True)
    admin.post(f"{PAGES}{row.pk}/delete/", {"post": "yes"})
    assert not PreferenceDefinition.every_tenant.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "integer", "default": "many"}, "Enter a whole number."),
        ({"kind": "boolean", "default": "perhaps"}, "Enter yes or no."),
        ({"kind": "json", "default": "{"}, "Enter valid JSON."),
        ({"kind": "json", "default": "null"}, "Null is not allowed"),
        ({"kind": "choice", "default": "x"}, "At least one choice is required."),
        ({"kind": "boolean", "default": "yes", "key": "A"}, "Must start with a lowercase letter"),
    ],
)
def test_an_invalid_definition_shows_an_error(admin: Client, data: Any, message: str) -> None:
    response = admin.post(f"{PAGES}add/", {"key": "mode", **data})
    assert message in text(response)
    assert not PreferenceDefinition.every_tenant.exists()


@pytest.mark.parametrize(
    ("kind", "text_value", "value"),
    [
        ("boolean", "Yes", True),
        ("integer", "-3", -3),
        ("text", " as it is ", " as it is "),
        ("json", '{"a": [1]}', {"a": [1]}),
    ],
)
def test_a_default_is_parsed_according_to_its_kind(
    admin: Client, kind: str, text_value: str, value: Any
) -> None:
    admin.post(f"{PAGES}add/", {"key": "mode", "kind": kind, "default": text_value})
    assert PreferenceDefinition.every_tenant.get().default == value


def test_adding_does_not_overwrite_an_existing_preference(
    admin: Client, size: PreferenceDefinition
) -> None:
    data = {"key": "size", "kind": "boolean", "default": "yes"}
    response = admin.post(f"{PAGES}add/", data)
    assert "A preference with this key already exists." in text(response)
    assert PreferenceDefinition.every_tenant.get().kind == "integer"


def test_a_tenant_can_set_a_default_for_a_platform_preference(
    admin: Client, tenant: Tenant, now: datetime
) -> None:
    definitions.define_for_platform(key="subtitles", kind="boolean", default=False, now=now)
    assert "add/?key=subtitles" in text(admin.get(PAGES))
    assert 'value="subtitles"' in text(admin.get(f"{PAGES}add/?key=subtitles"))
    data = {"key": "subtitles", "kind": "text", "default": "yes"}
    admin.post(f"{PAGES}add/", data)
    row = PreferenceDefinition.every_tenant.get()
    assert (row.kind, row.default) == ("boolean", True)
    assert "Your default is in the list below" in text(admin.get(PAGES))


def test_only_a_superuser_manages_platform_preferences(admin: Client) -> None:
    url = "/admin/preferences/platformpreference/"
    data = {"key": "size", "kind": "integer", "default": "5"}
    admin.post(f"{url}add/", data)
    assert not PlatformPreference.objects.exists()
    superuser = Client()
    superuser.force_login(User.objects.create_superuser("root@example.com", "x"))
    superuser.post(f"{url}add/", data)
    assert PlatformPreference.objects.get().default == 5
    assert superuser.get(f"{url}size/change/").status_code == 200
    superuser.post(f"{url}size/change/", {"kind": "text", "default": "large"})
    row = PlatformPreference.objects.get()
    assert (row.kind, row.default) == ("text", "large")
    superuser.post(f"{url}size/delete/", {"post": "yes"})
    assert not PlatformPreference.objects.exists()


class TestDevicesPage:
    @pytest.fixture(autouse=True)
    def defined(self, size: PreferenceDefinition) -> None:
        """Define the preference `size`."""

    def page(self, device: Device) -> str:
        return f"/admin/devices/device/{device.pk}/change/?tab=settings"

    def write(self, client: Client, device: Device, **fields: Any) -> Any:
        data = {"key": "size", "version": "0", "value": "5", **fields}
        return client.post(f"{PAGES}device/{device.pk}/", data, follow=True)

    def test_settings_are_shown_with_their_source(self, admin: Client, device: Device) -> None:
        assert "tenant default" in text(admin.get(self.page(device)))
        self.write(admin, device, value="7")
        assert "set by a member" in text(admin.get(self.page(device)))

    def test_a_setting_can_be_written_locked_and_reset(self, admin: Client, device: Device) -> None:
        self.write(admin, device, value="7", locked="on")
        row = DeviceSettings.every_tenant.get()
        assert (row.value, row.is_locked, row.version) == (7, True, 1)
        self.write(admin, device, version="1", value="7")
        row.refresh_from_db()
        assert (row.value, row.is_locked) == (7, False)
        self.write(admin, device, version="2", reset="1")
        row.refresh_from_db()
        assert row.has_value is False

    def test_a_stale_or_invalid_value_shows_an_error(self, admin: Client, device: Device) -> None:
        assert "Must be from 1 to 9." in text(self.write(admin, device, value="70"))
        self.write(admin, device, value="7")
        assert "The setting was changed in the meantime." in text(
            self.write(admin, device, value="8")
        )
        unknown = self.write(admin, device, key="color")
        assert "color: The setting does not exist." in text(unknown)
        page = text(self.write(admin, device, value="many", version="1"))
        assert "Enter a whole number." in page
        assert 'value="many"' in page  # the input is kept
        reload = admin.get(self.page(device), headers={"X-Requested-With": "live"})
        assert 'value="many"' in text(reload)
        assert 'value="many"' not in text(admin.get(self.page(device)))
        assert DeviceSettings.every_tenant.get().value == 7

    def test_a_viewer_cannot_write_settings(self, tenant: Tenant, device: Device) -> None:
        viewer = signed_in_client(tenant, Role.VIEWER)
        assert (
            "<form"
            not in text(viewer.get(self.page(device)))
            .split('id="device-settings"')[1]
            .split("</section>")[0]
        )
        assert self.write(viewer, device, value="7").status_code == 403
        assert not DeviceSettings.every_tenant.exists()

    def test_a_device_of_another_tenant_is_not_found(self, device: Device) -> None:
        other_client = signed_in_client(TenantFactory.create(), Role.OWNER)
        assert self.write(other_client, device, value="7").status_code == 404
