"""Preferences and settings in the portal."""

from datetime import datetime
from typing import Any

import pytest
from django.test import Client

from devices.preferences.models import (
    DeviceSettings,
    PlatformPreference,
    PreferenceDefinition,
)
from devices.preferences.services import definitions
from devices.registry.models import Device
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
PAGES = "/admin/preferences/preferencedefinition/"


def entered(tenant: Tenant, role: Role) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
    return client


@pytest.fixture
def admin(tenant: Tenant) -> Client:
    return entered(tenant, Role.ADMIN)


@pytest.fixture
def size(tenant: Tenant, now: datetime) -> PreferenceDefinition:
    with tenant_scope(tenant.pk):
        return definitions.define(
            key="size", kind="integer", minimum=1, maximum=9, default=5, now=now
        )


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_a_preference_is_entered_changed_and_removed(
    admin: Client, tenant: Tenant
) -> None:
    said = {"key": "mode", "kind": "choice", "choices": "day\nnight", "default": "day"}
    admin.post(f"{PAGES}add/", said)
    row = PreferenceDefinition.every_tenant.get(tenant=tenant)
    assert (row.choices, row.default, row.device_may_write) == (
        ["day", "night"],
        "day",
        False,
    )
    page = f"{PAGES}{row.pk}/change/"
    assert 'value="day"' in text(admin.get(page))
    admin.post(page, {**said, "default": "night", "device_may_write": "on"})
    row.refresh_from_db()
    assert (row.default, row.device_may_write) == ("night", True)
    admin.post(f"{PAGES}{row.pk}/delete/", {"post": "yes"})
    assert not PreferenceDefinition.every_tenant.exists()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"kind": "integer", "default": "many"}, "This is a whole number."),
        ({"kind": "boolean", "default": "perhaps"}, "This is yes or no."),
        ({"kind": "json", "default": "{"}, "This is no JSON."),
        ({"kind": "json", "default": "null"}, "Null is no value"),
        ({"kind": "choice", "default": "x"}, "At least one."),
        ({"kind": "boolean", "default": "yes", "key": "A"}, "Small letters"),
    ],
)
def test_what_cannot_be_stands_beside_its_field(
    admin: Client, said: Any, sentence: str
) -> None:
    answer = admin.post(f"{PAGES}add/", {"key": "mode", **said})
    assert sentence in text(answer)
    assert not PreferenceDefinition.every_tenant.exists()


@pytest.mark.parametrize(
    ("kind", "typed", "value"),
    [
        ("boolean", "Yes", True),
        ("integer", "-3", -3),
        ("text", " as it is ", " as it is "),
        ("json", '{"a": [1]}', {"a": [1]}),
    ],
)
def test_a_default_is_typed_as_its_kind_wants(
    admin: Client, kind: str, typed: str, value: Any
) -> None:
    admin.post(f"{PAGES}add/", {"key": "mode", "kind": kind, "default": typed})
    assert PreferenceDefinition.every_tenant.get().default == value


def test_what_is_there_is_not_overwritten_by_adding(
    admin: Client, size: PreferenceDefinition
) -> None:
    said = {"key": "size", "kind": "boolean", "default": "yes"}
    answer = admin.post(f"{PAGES}add/", said)
    assert "There is a preference of this key already." in text(answer)
    assert PreferenceDefinition.every_tenant.get().kind == "integer"


def test_a_tenant_sees_the_platforms_and_has_a_default_of_its_own(
    admin: Client, tenant: Tenant, now: datetime
) -> None:
    definitions.define_for_platform(
        key="subtitles", kind="boolean", default=False, now=now
    )
    assert "add/?key=subtitles" in text(admin.get(PAGES))
    assert 'value="subtitles"' in text(admin.get(f"{PAGES}add/?key=subtitles"))
    said = {"key": "subtitles", "kind": "text", "default": "yes"}
    admin.post(f"{PAGES}add/", said)
    row = PreferenceDefinition.every_tenant.get()
    assert (row.kind, row.default) == ("boolean", True)
    assert "Your own default is below" in text(admin.get(PAGES))


def test_the_platforms_preferences_are_the_superusers(admin: Client) -> None:
    where = "/admin/preferences/platformpreference/"
    said = {"key": "size", "kind": "integer", "default": "5"}
    admin.post(f"{where}add/", said)
    assert not PlatformPreference.objects.exists()
    superuser = Client()
    superuser.force_login(User.objects.create_superuser("root@example.com", "x"))
    superuser.post(f"{where}add/", said)
    assert PlatformPreference.objects.get().default == 5
    assert superuser.get(f"{where}size/change/").status_code == 200
    superuser.post(f"{where}size/change/", {"kind": "text", "default": "large"})
    row = PlatformPreference.objects.get()
    assert (row.kind, row.default) == ("text", "large")
    superuser.post(f"{where}size/delete/", {"post": "yes"})
    assert not PlatformPreference.objects.exists()


class TestDevicesPage:
    @pytest.fixture(autouse=True)
    def known(self, size: PreferenceDefinition) -> None:
        """There is a setting."""

    def page(self, device: Device) -> str:
        return f"/admin/devices/device/{device.pk}/change/"

    def write(self, client: Client, device: Device, **said: Any) -> Any:
        said = {"key": "size", "version": "0", "value": "5", **said}
        return client.post(f"{PAGES}device/{device.pk}/", said, follow=True)

    def test_settings_are_shown_with_who_has_chosen_them(
        self, admin: Client, device: Device
    ) -> None:
        assert "the tenant&#x27;s default" in text(admin.get(self.page(device)))
        self.write(admin, device, value="7")
        assert "set by a member" in text(admin.get(self.page(device)))

    def test_a_value_is_written_locked_and_reset(
        self, admin: Client, device: Device
    ) -> None:
        self.write(admin, device, value="7", locked="on")
        row = DeviceSettings.every_tenant.get()
        assert (row.value, row.is_locked, row.version) == (7, True, 1)
        self.write(admin, device, version="1", value="7")
        row.refresh_from_db()
        assert (row.value, row.is_locked) == (7, False)
        self.write(admin, device, version="2", reset="1")
        row.refresh_from_db()
        assert row.has_value is False

    def test_a_stale_or_bad_value_is_refused_with_a_sentence(
        self, admin: Client, device: Device
    ) -> None:
        assert "From 1 to 9." in text(self.write(admin, device, value="70"))
        self.write(admin, device, value="7")
        assert "It was written meanwhile." in text(self.write(admin, device, value="8"))
        unknown = self.write(admin, device, key="color")
        assert "color: There is no such setting." in text(unknown)
        typed = text(self.write(admin, device, value="many", version="1"))
        assert "This is a whole number." in typed
        assert 'value="many"' in typed  # what was typed is not lost
        look = admin.get(self.page(device), headers={"X-Requested-With": "live"})
        assert 'value="many"' in text(look)
        assert 'value="many"' not in text(admin.get(self.page(device)))
        assert DeviceSettings.every_tenant.get().value == 7

    def test_a_viewer_writes_nothing(self, tenant: Tenant, device: Device) -> None:
        viewer = entered(tenant, Role.VIEWER)
        assert (
            "<form"
            not in text(viewer.get(self.page(device)))
            .split('id="device-settings"')[1]
            .split("</section>")[0]
        )
        assert self.write(viewer, device, value="7").status_code == 403
        assert not DeviceSettings.every_tenant.exists()

    def test_a_strangers_device_is_not_there(self, device: Device) -> None:
        stranger = entered(TenantFactory.create(), Role.OWNER)
        assert self.write(stranger, device, value="7").status_code == 404
