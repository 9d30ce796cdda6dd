"""The API of preferences and device settings."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from unittest.mock import Mock, patch

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices.preferences.errors import InvalidDefinition, SettingsChanged, TooManyDefinitions
from devices.preferences.models import DeviceSettings, PreferenceDefinition
from devices.preferences.services import definitions, device_settings
from devices.preferences.services.device_settings import Change
from devices.registry.models import Device, NextSteps
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
MY_SETTINGS = "/devices/me/settings"


@pytest.fixture
def operator(member: Callable[..., APIClient]) -> APIClient:
    return member(Role.OPERATOR)


@pytest.fixture
def admin(member: Callable[..., APIClient]) -> APIClient:
    return member(Role.ADMIN)


@pytest.fixture
def subtitles(acting: Tenant, now: datetime) -> PreferenceDefinition:
    return definitions.define(key="subtitles", kind="boolean", default=False, now=now)


@pytest.fixture
def size(acting: Tenant, now: datetime) -> PreferenceDefinition:
    data: dict[str, Any] = {"kind": "integer", "minimum": 1, "maximum": 9}
    return definitions.define(key="size", default=5, now=now, **data)


def errors(response: Any) -> tuple[int, list[tuple[str, str | None]]]:
    items = response.json()["errors"]
    return response.status_code, [(item["code"], item["attr"]) for item in items]


def changes(**settings: Any) -> dict[str, Any]:
    return {"settings": settings}


class TestDefinitions:
    def test_a_preference_can_be_created_changed_and_deleted(self, admin: APIClient) -> None:
        data = {"key": "font_size", "kind": "integer", "minimum": 1, "default": 3}
        created = admin.post("/preferences", data)
        assert (created.status_code, created.json()["label"]) == (201, "Font size")
        changed = admin.put("/preferences/font_size", {"kind": "integer", "default": 4})
        assert changed.json()["default"] == 4
        [listed] = admin.get("/preferences").json()["results"]
        assert listed == changed.json()
        assert admin.delete("/preferences/font_size").status_code == 204
        assert admin.get("/preferences/font_size").status_code == 404

    def test_a_platform_preference_has_the_tenants_default(
        self, admin: APIClient, now: datetime
    ) -> None:
        definitions.define_for_platform(
            key="size", kind="integer", minimum=1, maximum=9, default=5, now=now
        )
        response = admin.put("/preferences/size", {"default": 7, "kind": "boolean"}).json()
        assert (response["kind"], response["maximum"], response["default"]) == ("integer", 9, 7)
        assert (response["source"], response["default_source"]) == ("platform", "tenant")
        admin.delete("/preferences/size")
        assert admin.get("/preferences/size").json()["default"] == 5

    def test_a_tenants_default_outside_the_platforms_type_is_ignored(
        self, acting: Tenant, now: datetime
    ) -> None:
        data: dict[str, Any] = {"key": "size", "kind": "integer", "minimum": 1}
        definitions.define_for_platform(**data, maximum=9, default=5, now=now)
        definitions.define(key="size", default=9, now=now)
        definitions.define_for_platform(**data, maximum=7, default=5, now=now)
        assert definitions.of_tenant()["size"].default == 5

    def test_creating_an_existing_preference_is_rejected(
        self, admin: APIClient, size: PreferenceDefinition
    ) -> None:
        data = {"key": "size", "kind": "boolean", "default": True}
        response = admin.post("/preferences", data)
        assert errors(response) == (409, [("preference_exists", "key")])
        assert admin.get("/preferences/size").json()["kind"] == "integer"

    @pytest.mark.parametrize(
        ("data", "attr"),
        [
            ({"key": "Size", "kind": "boolean", "default": True}, "key"),
            ({"key": "size", "kind": "float", "default": 1}, "kind"),
            ({"key": "size", "kind": "integer", "default": True}, "default"),
            ({"key": "size", "kind": "integer", "maximum": 3, "default": 4}, "default"),
            ({"key": "size", "kind": "choice", "default": "x"}, "choices"),
            ({"key": "size", "default": 1}, "kind"),
            ({"key": "size", "kind": "boolean"}, "default"),
        ],
    )
    def test_an_invalid_definition_is_rejected(
        self, admin: APIClient, data: Any, attr: str
    ) -> None:
        status, [(_, field)] = errors(admin.post("/preferences", data))
        assert (status, field) == (400, attr)

    def test_the_number_of_preferences_is_limited(self, acting: Tenant, now: datetime) -> None:
        PreferenceDefinition.objects.bulk_create(
            PreferenceDefinition(key=f"k{n}", default=1, kind="json", updated_at=now)
            for n in range(definitions.MAX_DEFINITIONS)
        )
        with pytest.raises(TooManyDefinitions):
            definitions.define(key="more", kind="boolean", default=True, now=now)

    def test_an_invalid_key_is_not_found(self, admin: APIClient) -> None:
        for key in ("a%00b", "A", "none"):
            for request in (admin.get, admin.delete):
                assert request(f"/preferences/{key}").status_code == 404

    def test_an_operator_cannot_define_preferences(self, operator: APIClient) -> None:
        data = {"key": "size", "kind": "boolean", "default": True}
        assert operator.post("/preferences", data).status_code == 403
        assert operator.get("/preferences").status_code == 200

    def test_a_definition_is_recorded_in_the_audit_log(self, size: PreferenceDefinition) -> None:
        event = Event.every_tenant.get(name="preference.defined")
        assert event.data["key"] == "size"
        assert event.changes["default"] == [None, 5]

    def test_preferences_of_another_tenant_are_not_visible(
        self, size: PreferenceDefinition
    ) -> None:
        with tenant_scope(TenantFactory.create().pk):
            assert definitions.of_tenant() == {}

    def test_a_preference_with_an_invalid_default_is_not_saved(
        self, acting: Tenant, now: datetime
    ) -> None:
        with pytest.raises(InvalidDefinition):
            definitions.define(key="a", kind="boolean", default=1, now=now)
        assert not PreferenceDefinition.objects.exists()


@pytest.mark.usefixtures("subtitles", "size")
class TestSettings:
    def test_a_device_reads_all_settings_in_one_request(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        settings = as_device(device).get(MY_SETTINGS).json()["settings"]
        assert {key: item["value"] for key, item in settings.items()} == {
            "size": 5,
            "subtitles": False,
        }
        assert settings["size"] == {
            "value": 5,
            "version": 0,
            "source": "tenant",
            "default": 5,
            "kind": "integer",
            "locked": False,
            "device_may_write": True,
            "updated_at": None,
        }

    def test_the_number_of_queries_does_not_depend_on_the_settings(
        self, device: Device, acting: Tenant, now: datetime
    ) -> None:
        counts = []
        for number in range(2):
            with CaptureQueriesContext(connection) as queries:
                device_settings.read(device)
            counts.append(len(queries))
            definitions.define(key=f"k{number}", kind="boolean", default=True, now=now)
        assert counts[0] == counts[1]

    def test_a_device_writes_its_settings(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        client = as_device(device)
        change = changes(subtitles={"value": True, "version": 0})
        setting = client.patch(MY_SETTINGS, change).json()["settings"]["subtitles"]
        assert (setting["value"], setting["version"], setting["source"]) == (True, 1, "device")
        assert client.get(MY_SETTINGS).json()["settings"]["subtitles"] == setting

    def test_a_stale_write_is_rejected_with_the_present_value(
        self, device: Device, as_device: Callable[..., APIClient], operator: APIClient
    ) -> None:
        client = as_device(device)
        operator.patch(f"/devices/{device.pk}/settings", changes(size={"value": 9, "version": 0}))
        response = client.patch(MY_SETTINGS, changes(size={"value": 1, "version": 0}))
        assert errors(response) == (409, [("setting_changed", "settings.size")])
        assert response.json()["current"] == {"size": {"value": 9, "version": 1}}

    def test_either_all_settings_are_written_or_none(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        client = as_device(device)
        change = changes(subtitles={"value": True, "version": 0}, size={"value": 1, "version": 7})
        assert client.patch(MY_SETTINGS, change).status_code == 409
        assert not DeviceSettings.every_tenant.exists()

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({"size": {"value": 10, "version": 0}}, ("invalid", "settings.size.value")),
            ({"color": {"value": 1, "version": 0}}, ("unknown_setting", "settings.color")),
            ({"size": {"value": 1}}, ("required", "settings.size.version")),
            ({"size": {"value": 1, "version": -5}}, ("min_value", "settings.size.version")),
            (
                {"size": {"value": 1, "version": 0, "reset": True}},
                ("invalid", "settings.size.reset"),
            ),
            ({}, ("empty", "settings")),
        ],
    )
    def test_a_write_without_a_usable_change_is_rejected_with_its_path(
        self, device: Device, as_device: Callable[..., APIClient], settings: Any, expected: Any
    ) -> None:
        response = as_device(device).patch(MY_SETTINGS, {"settings": settings})
        assert errors(response) == (400, [expected])

    @pytest.mark.parametrize(
        ("settings", "stored", "ignored"),
        [
            ({"size": {"value": "5", "version": "0"}}, 5, {"settings.size.value"}),
            ({"size": {"value": 7.0, "version": 0}}, 7, {"settings.size.value"}),
            ({"size": {"value": 5, "version": 0, "locked": True}}, 5, {"settings.size.locked"}),
            (
                {"size": {"value": 5, "version": 0}, "color": {"value": 1, "version": 0}},
                5,
                {"settings.color"},
            ),
            (
                {"size": {"value": 5, "version": 0}, "subtitles": {"value": "?", "version": 0}},
                5,
                {"settings.subtitles.value"},
            ),
            ({"size": {"value": 5, "version": 0}, "subtitles": 1}, 5, {"settings.subtitles"}),
        ],
    )
    def test_a_devices_write_is_used_as_far_as_possible(
        self,
        device: Device,
        as_device: Callable[..., APIClient],
        settings: Any,
        stored: int,
        ignored: set[str],
    ) -> None:
        response = as_device(device).patch(MY_SETTINGS, {"settings": settings}).json()
        assert response["settings"]["size"]["value"] == stored
        fields = {item["field"] for item in response["ignored"]}
        assert fields >= ignored

    def test_a_member_writes_strictly(self, device: Device, operator: APIClient) -> None:
        response = operator.patch(
            f"/devices/{device.pk}/settings", changes(size={"value": "5", "version": 0})
        )
        assert errors(response) == (400, [("invalid", "settings.size.value")])

    def test_a_device_cannot_change_a_locked_setting(
        self, device: Device, as_device: Callable[..., APIClient], operator: APIClient
    ) -> None:
        url = f"/devices/{device.pk}/settings"
        lock = changes(size={"value": 3, "version": 0, "locked": True})
        assert operator.patch(url, lock).json()["settings"]["size"]["locked"] is True
        client = as_device(device)
        response = client.patch(MY_SETTINGS, changes(size={"value": 1, "version": 1}))
        assert errors(response) == (409, [("setting_locked", "settings.size")])
        read = client.get(MY_SETTINGS).json()["settings"]["size"]
        assert (read["value"], read["device_may_write"]) == (3, False)
        operator.patch(url, changes(size={"version": 1, "locked": False}))
        again = client.patch(MY_SETTINGS, changes(size={"value": 1, "version": 2}))
        assert again.status_code == 200

    def test_a_device_cannot_change_a_setting_for_members_only(
        self,
        device: Device,
        as_device: Callable[..., APIClient],
        operator: APIClient,
        acting: Tenant,
        now: datetime,
    ) -> None:
        definitions.define(key="mode", kind="text", default="a", device_may_write=False, now=now)
        change = changes(mode={"value": "b", "version": 0})
        response = as_device(device).patch(MY_SETTINGS, change)
        assert errors(response) == (409, [("setting_not_writable", "settings.mode")])
        assert operator.patch(f"/devices/{device.pk}/settings", change).status_code == 200

    def test_a_lock_does_not_change_the_source(
        self, device: Device, as_device: Callable[..., APIClient], operator: APIClient
    ) -> None:
        as_device(device).patch(MY_SETTINGS, changes(size={"value": 3, "version": 0}))
        response = operator.patch(
            f"/devices/{device.pk}/settings", changes(size={"version": 1, "locked": True})
        )
        assert response.json()["settings"]["size"]["source"] == "device"

    def test_true_and_one_are_different_values(
        self, device: Device, operator: APIClient, acting: Tenant, now: datetime
    ) -> None:
        definitions.define(key="grid", kind="json", default={}, now=now)
        url = f"/devices/{device.pk}/settings"
        for version, value in enumerate(({"a": 1}, {"a": True})):
            change = changes(grid={"value": value, "version": version})
            setting = operator.patch(url, change).json()["settings"]["grid"]
        assert (setting["value"], setting["version"]) == ({"a": True}, 2)

    def test_a_write_during_a_read_results_in_an_old_version(
        self, device: Device, acting: Tenant, now: datetime
    ) -> None:
        change = {"size": Change(version=0, value=9, has_value=True)}
        read = NextSteps.objects.filter

        def filter_and_write(*args: Any, **kwargs: Any) -> Any:
            revisions = list(read(*args, **kwargs).values_list("settings_revision", flat=True))
            with patch.object(NextSteps.objects, "filter", read):
                device_settings.write(device=device, changes=change, by_device=True, now=now)
            response = Mock()
            response.values_list.return_value.first.return_value = next(iter(revisions), None)
            return response

        with patch.object(NextSteps.objects, "filter", filter_and_write):
            result = device_settings.read(device)
        assert result.settings["size"].value == 9
        assert result.version != device_settings.read(device).version

    def test_a_reset_restores_the_default(self, device: Device, operator: APIClient) -> None:
        url = f"/devices/{device.pk}/settings"
        operator.patch(url, changes(size={"value": 9, "version": 0}))
        response = operator.patch(url, changes(size={"reset": True, "version": 1}))
        setting = response.json()["settings"]["size"]
        assert (setting["value"], setting["source"], setting["version"]) == (5, "tenant", 2)

    def test_writing_the_same_value_changes_nothing(
        self, device: Device, operator: APIClient
    ) -> None:
        url = f"/devices/{device.pk}/settings"
        for version in (0, 1):
            change = changes(size={"value": 9, "version": version})
            setting = operator.patch(url, change).json()["settings"]["size"]
        assert setting["version"] == 1
        assert Event.every_tenant.filter(name="settings.written").count() == 1

    def test_a_write_is_recorded_in_the_audit_log(
        self, device: Device, operator: APIClient
    ) -> None:
        lock = changes(size={"value": 9, "version": 0, "locked": True})
        operator.patch(f"/devices/{device.pk}/settings", lock)
        event = Event.every_tenant.get(name="settings.written")
        assert event.changes == {"size": [5, 9], "size.locked": [False, True]}

    def test_a_value_that_became_invalid_is_replaced_by_the_default(
        self, device: Device, operator: APIClient, acting: Tenant, now: datetime
    ) -> None:
        url = f"/devices/{device.pk}/settings"
        operator.patch(url, changes(size={"value": 9, "version": 0}))
        definitions.define(key="size", maximum=6, default=2, now=now)
        setting = operator.get(url).json()["settings"]["size"]
        assert (setting["value"], setting["source"]) == (2, "tenant")

    def test_a_value_returns_when_its_definition_is_created_again(
        self, device: Device, operator: APIClient, acting: Tenant, now: datetime
    ) -> None:
        url = f"/devices/{device.pk}/settings"
        operator.patch(url, changes(size={"value": 9, "version": 0}))
        definitions.remove(key="size", now=now)
        assert "size" not in operator.get(url).json()["settings"]
        definitions.define(key="size", kind="integer", default=1, now=now)
        assert operator.get(url).json()["settings"]["size"]["value"] == 9

    def test_unchanged_settings_are_a_304(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        client = as_device(device)
        etag = client.get(MY_SETTINGS)["ETag"]
        assert client.get(MY_SETTINGS, HTTP_IF_NONE_MATCH=etag).status_code == 304
        client.patch(MY_SETTINGS, changes(size={"value": 9, "version": 0}))
        assert client.get(MY_SETTINGS, HTTP_IF_NONE_MATCH=etag).status_code == 200

    def test_connect_has_a_new_version_after_each_change(
        self, device: Device, as_device: Callable[..., APIClient], now: datetime
    ) -> None:
        client = as_device(device)

        def settings_version() -> Any:
            steps = client.post("/devices/connect", {}).json()["next_steps"]
            return steps["settings_version"]

        first = settings_version()
        assert first == client.get(MY_SETTINGS).json()["version"]
        client.patch(MY_SETTINGS, changes(size={"value": 9, "version": 0}))
        second = settings_version()
        definitions.define(key="size", default=4, now=now)
        assert len({first, second, settings_version()}) == 3

    def test_settings_of_a_retired_device_cannot_be_changed(
        self, tenant: Tenant, operator: APIClient, now: datetime
    ) -> None:
        retired = DeviceFactory.create(tenant=tenant, status="retired", retired_at=now)
        change = changes(size={"value": 9, "version": 0})
        response = operator.patch(f"/devices/{retired.pk}/settings", change)
        assert errors(response) == (409, [("device_retired", None)])

    def test_devices_have_separate_settings(self, device: Device, operator: APIClient) -> None:
        other = DeviceFactory.create(tenant=device.tenant)
        operator.patch(f"/devices/{device.pk}/settings", changes(size={"value": 9, "version": 0}))
        settings = operator.get(f"/devices/{other.pk}/settings").json()["settings"]
        assert settings["size"]["value"] == 5


def test_connect_without_preferences_has_no_version(
    device: Device, as_device: Callable[..., APIClient]
) -> None:
    steps = as_device(device).post("/devices/connect", {}).json()["next_steps"]
    assert steps["settings_version"] is None


@pytest.mark.django_db(transaction=True)
def test_one_of_several_concurrent_writes_succeeds(now: datetime) -> None:
    device = DeviceFactory.create()
    with tenant_scope(device.tenant_id):
        definitions.define(key="size", kind="integer", default=0, now=now)

    def write(value: int) -> bool:
        try:
            with tenant_scope(device.tenant_id):
                change = Change(version=0, value=value, has_value=True)
                device_settings.write(
                    device=device, changes={"size": change}, by_device=True, now=now
                )
        except SettingsChanged:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(write, range(1, 9)))

    assert results.count(True) == 1
    row = DeviceSettings.every_tenant.get()
    assert (row.version, row.value) == (1, results.index(True) + 1)
