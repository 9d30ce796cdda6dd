"""Settings of devices: typed, with defaults, written with the version that was seen."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from unittest.mock import Mock, patch

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from devices.preferences.errors import (
    InvalidDefinition,
    SettingsChanged,
    TooManyDefinitions,
)
from devices.preferences.models import DeviceSettings, PreferenceDefinition
from devices.preferences.services import connect_response, definitions, device_settings
from devices.preferences.services.device_settings import Change
from devices.registry.models import Device, NextSteps
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
MINE = "/devices/me/settings"


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
    said: dict[str, Any] = {"kind": "integer", "minimum": 1, "maximum": 9}
    return definitions.define(key="size", default=5, now=now, **said)


def errors(answer: Any) -> tuple[int, list[tuple[str, str | None]]]:
    said = answer.json()["errors"]
    return answer.status_code, [(one["code"], one["attr"]) for one in said]


def wanted(**settings: Any) -> dict[str, Any]:
    return {"settings": settings}


class TestDefinitions:
    def test_a_tenant_defines_changes_and_removes_a_setting(
        self, admin: APIClient
    ) -> None:
        said = {"key": "font_size", "kind": "integer", "minimum": 1, "default": 3}
        made = admin.post("/preferences", said)
        assert (made.status_code, made.json()["label"]) == (201, "Font size")
        changed = admin.put("/preferences/font_size", {"kind": "integer", "default": 4})
        assert changed.json()["default"] == 4
        [listed] = admin.get("/preferences").json()["results"]
        assert listed == changed.json()
        assert admin.delete("/preferences/font_size").status_code == 204
        assert admin.get("/preferences/font_size").status_code == 404

    def test_the_platforms_setting_has_the_tenants_default(
        self, admin: APIClient, now: datetime
    ) -> None:
        definitions.define_for_platform(
            key="size", kind="integer", minimum=1, maximum=9, default=5, now=now
        )
        answer = admin.put(
            "/preferences/size", {"default": 7, "kind": "boolean"}
        ).json()
        assert (answer["kind"], answer["maximum"], answer["default"]) == (
            "integer",
            9,
            7,
        )
        assert (answer["source"], answer["default_source"]) == ("platform", "tenant")
        admin.delete("/preferences/size")
        assert admin.get("/preferences/size").json()["default"] == 5

    def test_a_tenants_default_that_the_platform_allows_no_more_is_not_one(
        self, acting: Tenant, now: datetime
    ) -> None:
        said: dict[str, Any] = {"key": "size", "kind": "integer", "minimum": 1}
        definitions.define_for_platform(**said, maximum=9, default=5, now=now)
        definitions.define(key="size", default=9, now=now)
        definitions.define_for_platform(**said, maximum=7, default=5, now=now)
        assert definitions.of_tenant()["size"].default == 5

    def test_what_is_there_is_not_made_again(
        self, admin: APIClient, size: PreferenceDefinition
    ) -> None:
        said = {"key": "size", "kind": "boolean", "default": True}
        answer = admin.post("/preferences", said)
        assert errors(answer) == (409, [("preference_exists", "key")])
        assert admin.get("/preferences/size").json()["kind"] == "integer"

    @pytest.mark.parametrize(
        ("said", "attr"),
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
    def test_a_definition_that_cannot_be_is_refused(
        self, admin: APIClient, said: Any, attr: str
    ) -> None:
        status, [(_, at_fault)] = errors(admin.post("/preferences", said))
        assert (status, at_fault) == (400, attr)

    def test_there_are_not_more_than_a_device_can_read(
        self, acting: Tenant, now: datetime
    ) -> None:
        PreferenceDefinition.objects.bulk_create(
            PreferenceDefinition(key=f"k{n}", default=1, kind="json", updated_at=now)
            for n in range(definitions.MOST)
        )
        with pytest.raises(TooManyDefinitions):
            definitions.define(key="more", kind="boolean", default=True, now=now)

    def test_what_can_be_no_key_is_not_there(self, admin: APIClient) -> None:
        for key in ("a%00b", "A", "none"):
            for ask in (admin.get, admin.delete):
                assert ask(f"/preferences/{key}").status_code == 404

    def test_an_operator_defines_nothing(self, operator: APIClient) -> None:
        said = {"key": "size", "kind": "boolean", "default": True}
        assert operator.post("/preferences", said).status_code == 403
        assert operator.get("/preferences").status_code == 200

    def test_changes_are_in_the_audit_log(self, size: PreferenceDefinition) -> None:
        event = Event.every_tenant.get(name="preference.defined")
        assert event.data["key"] == "size"
        assert event.changes["default"] == [None, 5]

    def test_another_tenants_settings_are_not_these(
        self, size: PreferenceDefinition
    ) -> None:
        with tenant_scope(TenantFactory.create().pk):
            assert definitions.of_tenant() == {}

    def test_a_bad_default_saves_nothing(self, acting: Tenant, now: datetime) -> None:
        with pytest.raises(InvalidDefinition):
            definitions.define(key="a", kind="boolean", default=1, now=now)
        assert not PreferenceDefinition.objects.exists()


@pytest.mark.usefixtures("subtitles", "size")
class TestSettings:
    def test_a_device_reads_all_in_one_call(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        told = as_device(device).get(MINE).json()["settings"]
        assert {key: one["value"] for key, one in told.items()} == {
            "size": 5,
            "subtitles": False,
        }
        assert told["size"] == {
            "value": 5,
            "version": 0,
            "source": "tenant",
            "default": 5,
            "kind": "integer",
            "locked": False,
            "device_may_write": True,
            "updated_at": None,
        }

    def test_reading_takes_the_same_queries_however_much_it_is(
        self, device: Device, acting: Tenant, now: datetime
    ) -> None:
        counts = []
        for number in range(2):
            with CaptureQueriesContext(connection) as queries:
                device_settings.of(device)
            counts.append(len(queries))
            definitions.define(key=f"k{number}", kind="boolean", default=True, now=now)
        assert counts[0] == counts[1]

    def test_a_device_writes_its_own(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        client = as_device(device)
        change = wanted(subtitles={"value": True, "version": 0})
        told = client.patch(MINE, change).json()["settings"]["subtitles"]
        assert (told["value"], told["version"], told["source"]) == (True, 1, "device")
        assert client.get(MINE).json()["settings"]["subtitles"] == told

    def test_a_stale_write_is_told_what_is_there_now(
        self, device: Device, as_device: Callable[..., APIClient], operator: APIClient
    ) -> None:
        client = as_device(device)
        operator.patch(
            f"/devices/{device.pk}/settings", wanted(size={"value": 9, "version": 0})
        )
        answer = client.patch(MINE, wanted(size={"value": 1, "version": 0}))
        assert errors(answer) == (409, [("setting_changed", "settings.size")])
        assert answer.json()["current"] == {"size": {"value": 9, "version": 1}}

    def test_all_are_written_or_none(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        client = as_device(device)
        change = wanted(
            subtitles={"value": True, "version": 0}, size={"value": 1, "version": 7}
        )
        assert client.patch(MINE, change).status_code == 409
        assert not DeviceSettings.every_tenant.exists()

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({"size": {"value": 10, "version": 0}}, ("invalid", "settings.size.value")),
            (
                {"size": {"value": "5", "version": 0}},
                ("invalid", "settings.size.value"),
            ),
            (
                {"color": {"value": 1, "version": 0}},
                ("unknown_setting", "settings.color"),
            ),
            ({"size": {"value": 1}}, ("required", "settings.size.version")),
            (
                {"size": {"value": 1, "version": -1}},
                ("min_value", "settings.size.version"),
            ),
            (
                {"size": {"value": 1, "version": 0, "reset": True}},
                ("invalid", "settings.size.reset"),
            ),
            (
                {"size": {"value": 1, "version": 0, "locked": True}},
                ("unknown_field", "settings.size.locked"),
            ),
            ({}, ("empty", "settings")),
        ],
    )
    def test_what_cannot_be_written_is_refused_with_its_path(
        self,
        device: Device,
        as_device: Callable[..., APIClient],
        settings: Any,
        expected: Any,
    ) -> None:
        answer = as_device(device).patch(MINE, {"settings": settings})
        assert errors(answer) == (400, [expected])

    def test_what_an_operator_has_locked_the_device_cannot_change(
        self, device: Device, as_device: Callable[..., APIClient], operator: APIClient
    ) -> None:
        where = f"/devices/{device.pk}/settings"
        lock = wanted(size={"value": 3, "version": 0, "locked": True})
        assert operator.patch(where, lock).json()["settings"]["size"]["locked"] is True
        client = as_device(device)
        answer = client.patch(MINE, wanted(size={"value": 1, "version": 1}))
        assert errors(answer) == (409, [("setting_locked", "settings.size")])
        read = client.get(MINE).json()["settings"]["size"]
        assert (read["value"], read["device_may_write"]) == (3, False)
        operator.patch(where, wanted(size={"version": 1, "locked": False}))
        again = client.patch(MINE, wanted(size={"value": 1, "version": 2}))
        assert again.status_code == 200

    def test_what_is_not_the_devices_to_choose_it_cannot_change(
        self,
        device: Device,
        as_device: Callable[..., APIClient],
        operator: APIClient,
        acting: Tenant,
        now: datetime,
    ) -> None:
        definitions.define(
            key="mode", kind="text", default="a", device_may_write=False, now=now
        )
        change = wanted(mode={"value": "b", "version": 0})
        answer = as_device(device).patch(MINE, change)
        assert errors(answer) == (409, [("setting_not_writable", "settings.mode")])
        assert (
            operator.patch(f"/devices/{device.pk}/settings", change).status_code == 200
        )

    def test_to_lock_is_not_to_choose(
        self, device: Device, as_device: Callable[..., APIClient], operator: APIClient
    ) -> None:
        as_device(device).patch(MINE, wanted(size={"value": 3, "version": 0}))
        answer = operator.patch(
            f"/devices/{device.pk}/settings",
            wanted(size={"version": 1, "locked": True}),
        )
        assert answer.json()["settings"]["size"]["source"] == "device"

    def test_true_is_not_one_inside_of_a_value(
        self, device: Device, operator: APIClient, acting: Tenant, now: datetime
    ) -> None:
        definitions.define(key="grid", kind="json", default={}, now=now)
        where = f"/devices/{device.pk}/settings"
        for version, value in enumerate(({"a": 1}, {"a": True})):
            change = wanted(grid={"value": value, "version": version})
            told = operator.patch(where, change).json()["settings"]["grid"]
        assert (told["value"], told["version"]) == ({"a": True}, 2)

    def test_a_write_while_they_are_read_makes_them_be_read_again(
        self, device: Device, acting: Tenant, now: datetime
    ) -> None:
        change = {"size": Change(version=0, value=9, has_value=True)}
        read = NextSteps.objects.filter

        def and_somebody_writes(*args: Any, **kwargs: Any) -> Any:
            found = list(
                read(*args, **kwargs).values_list("settings_revision", flat=True)
            )
            with patch.object(NextSteps.objects, "filter", read):
                device_settings.write(
                    device=device, changes=change, by_device=True, now=now
                )
            answer = Mock()
            answer.values_list.return_value.first.return_value = next(iter(found), None)
            return answer

        with patch.object(NextSteps.objects, "filter", and_somebody_writes):
            torn = device_settings.of(device)
        assert torn.settings["size"].value == 9
        assert torn.version != device_settings.of(device).version

    def test_a_reset_gives_the_default_again(
        self, device: Device, operator: APIClient
    ) -> None:
        where = f"/devices/{device.pk}/settings"
        operator.patch(where, wanted(size={"value": 9, "version": 0}))
        answer = operator.patch(where, wanted(size={"reset": True, "version": 1}))
        told = answer.json()["settings"]["size"]
        assert (told["value"], told["source"], told["version"]) == (5, "tenant", 2)

    def test_the_same_value_again_is_no_change(
        self, device: Device, operator: APIClient
    ) -> None:
        where = f"/devices/{device.pk}/settings"
        for version in (0, 1):
            change = wanted(size={"value": 9, "version": version})
            told = operator.patch(where, change).json()["settings"]["size"]
        assert told["version"] == 1
        assert Event.every_tenant.filter(name="settings.written").count() == 1

    def test_a_write_is_in_the_audit_log(
        self, device: Device, operator: APIClient
    ) -> None:
        lock = wanted(size={"value": 9, "version": 0, "locked": True})
        operator.patch(f"/devices/{device.pk}/settings", lock)
        event = Event.every_tenant.get(name="settings.written")
        assert event.changes == {"size": [5, 9], "size.locked": [False, True]}

    def test_a_value_that_is_allowed_no_more_gives_way_to_the_default(
        self, device: Device, operator: APIClient, acting: Tenant, now: datetime
    ) -> None:
        where = f"/devices/{device.pk}/settings"
        operator.patch(where, wanted(size={"value": 9, "version": 0}))
        definitions.define(key="size", maximum=6, default=2, now=now)
        told = operator.get(where).json()["settings"]["size"]
        assert (told["value"], told["source"]) == (2, "tenant")

    def test_a_value_comes_back_with_its_definition(
        self, device: Device, operator: APIClient, acting: Tenant, now: datetime
    ) -> None:
        where = f"/devices/{device.pk}/settings"
        operator.patch(where, wanted(size={"value": 9, "version": 0}))
        definitions.remove(key="size", now=now)
        assert "size" not in operator.get(where).json()["settings"]
        definitions.define(key="size", kind="integer", default=1, now=now)
        assert operator.get(where).json()["settings"]["size"]["value"] == 9

    def test_unchanged_settings_are_a_304(
        self, device: Device, as_device: Callable[..., APIClient]
    ) -> None:
        client = as_device(device)
        etag = client.get(MINE)["ETag"]
        assert client.get(MINE, HTTP_IF_NONE_MATCH=etag).status_code == 304
        client.patch(MINE, wanted(size={"value": 9, "version": 0}))
        assert client.get(MINE, HTTP_IF_NONE_MATCH=etag).status_code == 200

    def test_connect_says_when_to_read_them_again(
        self, device: Device, as_device: Callable[..., APIClient], now: datetime
    ) -> None:
        client = as_device(device)

        def told() -> Any:
            connect_response.forget()
            steps = client.post("/devices/connect", {}).json()["next_steps"]
            return steps["settings_version"]

        first = told()
        assert first == client.get(MINE).json()["version"]
        client.patch(MINE, wanted(size={"value": 9, "version": 0}))
        second = told()
        definitions.define(key="size", default=4, now=now)
        assert len({first, second, told()}) == 3

    def test_a_retired_devices_settings_stay(
        self, tenant: Tenant, operator: APIClient, now: datetime
    ) -> None:
        gone = DeviceFactory.create(tenant=tenant, status="retired", retired_at=now)
        change = wanted(size={"value": 9, "version": 0})
        answer = operator.patch(f"/devices/{gone.pk}/settings", change)
        assert errors(answer) == (409, [("device_retired", None)])

    def test_another_device_has_settings_of_its_own(
        self, device: Device, operator: APIClient
    ) -> None:
        other = DeviceFactory.create(tenant=device.tenant)
        operator.patch(
            f"/devices/{device.pk}/settings", wanted(size={"value": 9, "version": 0})
        )
        told = operator.get(f"/devices/{other.pk}/settings").json()["settings"]
        assert told["size"]["value"] == 5


def test_connect_without_preferences_says_so(
    device: Device, as_device: Callable[..., APIClient]
) -> None:
    connect_response.forget()
    steps = as_device(device).post("/devices/connect", {}).json()["next_steps"]
    assert steps["settings_version"] is None


@pytest.mark.django_db(transaction=True)
def test_of_many_writes_at_once_that_saw_the_same_one_is_kept(now: datetime) -> None:
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
        outcomes = list(pool.map(write, range(1, 9)))

    assert outcomes.count(True) == 1
    row = DeviceSettings.every_tenant.get()
    assert (row.version, row.value) == (1, outcomes.index(True) + 1)
