"""Notes about devices, and the attributes that a tenant defines for them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from rest_framework.test import APIClient

from devices.imports.tests.test_imports import details, imported
from devices.registry import tasks
from devices.registry.errors import InvalidAttribute, InvalidAttributeValue
from devices.registry.models import AttributeDefinition, Device, DeviceAttributes
from devices.registry.services import attributes, device_details, replacement
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from devices.registry.tests.waiting import wait_until
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
Member = Callable[..., APIClient]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def define(key: str, kind: str = "text", **fields: Any) -> AttributeDefinition:
    return attributes.define(key=key, label=key.capitalize(), kind=kind, now=NOW, **fields)


def set_values(device: Device, **values: Any) -> None:
    device_details.update(device=device, attributes=values, now=NOW)


def values_of(device: Device) -> dict[str, Any]:
    values: dict[str, Any] = DeviceAttributes.objects.get(device=device).values
    return values


class TestValues:
    @pytest.mark.parametrize(
        ("kind", "entered", "stored"),
        [
            ("text", " second floor ", "second floor"),
            ("number", "12,5", 12.5),
            ("number", 3, 3.0),
            ("number", "12345678.125", 12345678.125),
            ("boolean", "Yes", True),
            ("boolean", False, False),
            ("date", "2026-12-31", "2026-12-31"),
            ("choice", "A", "A"),
        ],
    )
    def test_a_value_is_stored_with_the_type_of_its_attribute(
        self, acting: Tenant, device: Device, kind: str, entered: Any, stored: Any
    ) -> None:
        define("key", kind, choices=["A", "B"])

        set_values(device, key=entered)

        assert values_of(device) == {"key": stored}

    @pytest.mark.parametrize(
        ("kind", "entered"),
        [
            ("text", "x" * 201),
            ("text", "two\nlines"),
            ("number", "many"),
            ("number", "nan"),
            ("number", True),
            ("number", "1,234"),
            ("text", "a;b"),
            ("text", {"a": 1}),
            ("boolean", "perhaps"),
            ("date", "31.12.2026"),
            ("choice", "C"),
        ],
    )
    def test_a_value_that_does_not_fit_is_refused_with_its_field(
        self, acting: Tenant, device: Device, kind: str, entered: Any
    ) -> None:
        define("key", kind, choices=["A", "B"])

        with pytest.raises(InvalidAttributeValue) as refused:
            set_values(device, key=entered)

        assert refused.value.field == "attributes.key"

    def test_an_unknown_attribute_is_refused(self, acting: Tenant, device: Device) -> None:
        with pytest.raises(InvalidAttributeValue, match="There is no attribute floor"):
            set_values(device, floor="2")

    def test_other_values_stay_and_a_blank_one_is_removed(
        self, acting: Tenant, device: Device
    ) -> None:
        define("floor")
        define("owner")
        set_values(device, floor="2", owner="Lang")

        set_values(device, floor="")

        assert values_of(device) == {"owner": "Lang"}

    def test_a_change_is_an_event_with_the_old_and_new_value(
        self, acting: Tenant, device: Device
    ) -> None:
        define("floor")
        set_values(device, floor="1")
        device_details.update(device=device, notes="Ring twice", attributes={"floor": "2"}, now=NOW)

        event = Event.objects.named("device.updated").order_by("-id").first()
        assert event is not None
        assert event.changes == {"attributes.floor": ["1", "2"], "notes": ["", "Ring twice"]}

    def test_a_replacement_takes_over_notes_and_attributes(self, acting: Tenant) -> None:
        define("floor")
        failed = DeviceFactory.create(tenant=acting)
        device_details.update(device=failed, notes="Ring twice", attributes={"floor": "2"}, now=NOW)
        successor = DeviceFactory.create(tenant=acting)

        replacement.replace(failed=failed, by=successor, now=NOW)

        row = DeviceAttributes.objects.get(device=successor)
        assert (row.notes, row.values) == ("Ring twice", {"floor": "2"})

    def test_the_form_shows_all_digits_of_a_number(self) -> None:
        assert attributes.text_of(12345678.0) == "12345678"
        assert attributes.text_of(49.123456) == "49.123456"

    def test_a_replacement_takes_over_a_value_that_is_no_longer_a_choice(
        self, acting: Tenant
    ) -> None:
        define("floor", "choice", choices=["1", "2"])
        failed, successor = DeviceFactory.create_batch(2, tenant=acting)
        set_values(failed, floor="2")
        define("floor", "choice", choices=["1"])

        replacement.replace(failed=failed, by=successor, now=NOW)

        assert values_of(successor) == {"floor": "2"}


class TestDefinitions:
    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"key": "Floor"}, "key"),
            ({"label": " "}, "label"),
            ({"kind": "choice"}, "choices"),
            ({"kind": "choice", "choices": ["a;b"]}, "choices"),
            ({"kind": "colour"}, "kind"),
        ],
    )
    def test_invalid_attributes_are_refused(
        self, acting: Tenant, fields: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(InvalidAttribute) as refused:
            attributes.define(
                **{"key": "floor", "label": "Floor", "kind": "text", **fields}, now=NOW
            )

        assert refused.value.field == field

    def test_the_kind_never_changes(self, acting: Tenant) -> None:
        define("floor")

        with pytest.raises(InvalidAttribute, match="kind"):
            define("floor", "number")

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.usefixtures("celery_worker")
    def test_a_worker_removes_the_values_of_a_deleted_attribute(self, acting: Tenant) -> None:
        device = DeviceFactory.create(tenant=acting)
        define("floor")
        define("owner")
        set_values(device, floor="2", owner="Lang")

        attributes.delete(key="floor", now=NOW)

        assert "floor" not in attributes.of_tenant()
        wait_until(lambda: not AttributeDefinition.objects.filter(key="floor").exists())
        assert values_of(device) == {"owner": "Lang"}

    def test_a_key_cannot_be_used_again_before_its_values_are_removed(self, acting: Tenant) -> None:
        define("floor")
        attributes.delete(key="floor", now=NOW)

        with pytest.raises(InvalidAttribute, match="being deleted"):
            define("floor", "number")
        tasks.delete_attribute_values.run()
        assert define("floor", "number").kind == "number"


class TestFilter:
    @pytest.fixture
    def devices(self, acting: Tenant) -> None:
        define("floor")
        define("rent", "number")
        define("since", "date")
        for name, values in (
            ("A", {"floor": "1", "rent": 80, "since": "2026-01-01"}),
            ("B", {"floor": "2", "rent": 120, "since": "2026-06-01"}),
            ("C", {}),
        ):
            set_values(DeviceFactory.create(tenant=acting, name=name), **values)

    @pytest.mark.parametrize(
        ("conditions", "names"),
        [
            ("floor:1", ["A"]),
            ("rent>=100", ["B"]),
            ("rent<=100;floor:1", ["A"]),
            ("since>=2026-05-01", ["B"]),
            ("floor:", ["C"]),
            ("floor:3", []),
        ],
    )
    def test_devices_are_found_by_conditions(
        self, member: Member, devices: None, conditions: str, names: list[str]
    ) -> None:
        rows = member().get("/devices", {"attributes": conditions}).json()["results"]

        assert sorted(row["name"] for row in rows) == names

    @pytest.mark.parametrize(
        "conditions",
        ["floor", "height:3", "floor>=3", "rent:many", "rent>=x", "rent>=", ";", " ; "],
    )
    def test_invalid_conditions_are_refused(
        self, member: Member, devices: None, conditions: str
    ) -> None:
        response = member().get("/devices", {"attributes": conditions})

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == "attributes"


class TestApi:
    def test_admins_define_attributes_and_operators_set_them(
        self, member: Member, device: Device
    ) -> None:
        path, body = "/device-attributes/floor", {"label": "Floor", "kind": "text"}
        assert member().put(path, body).status_code == 403
        assert member(Role.ADMIN).put(path, body).json()["key"] == "floor"
        assert [row["key"] for row in member().get("/device-attributes").json()["results"]] == [
            "floor"
        ]

        client = member()
        changed = {"notes": "Ring twice", "attributes": {"floor": "2"}}
        answer = client.patch(f"/devices/{device.pk}", changed).json()
        assert (answer["notes"], answer["attributes"]) == ("Ring twice", {"floor": "2"})
        assert client.get("/devices").json()["results"][0]["attributes"] == {"floor": "2"}
        assert member(Role.ADMIN).delete(path).status_code == 204
        assert member().get(path).status_code == 404

    def test_a_device_does_not_see_what_is_noted_about_it(
        self, acting: Tenant, device: Device
    ) -> None:
        from conftest import client_with_token
        from devices.registry.services.credentials import issue_device_token

        device_details.update(device=device, notes="Broken twice", now=NOW)
        token = issue_device_token(device, now=datetime.now(UTC))

        assert client_with_token(token).get("/devices/me").json()["notes"] == ""


class TestFiles:
    def test_an_import_sets_notes_and_attributes_by_key_or_label(
        self, acting: Tenant, now: datetime
    ) -> None:
        define("floor")
        define("rent", "number")
        content = b"serial_number,attribute.floor,Rent,notes\nSN-1,2,99,Ring twice\nSN-2,,many,\n"

        row = imported(content, now)

        known = DeviceAttributes.objects.get(device__name="SN-1")
        assert (known.notes, known.values) == ("Ring twice", {"floor": "2", "rent": 99.0})
        assert details(row)[3] == "Rent must be a number."

    def test_an_export_can_be_imported_without_changes(
        self, acting: Tenant, now: datetime, capsys: pytest.CaptureFixture[str]
    ) -> None:
        define("indoor", "boolean")
        device = DeviceFactory.create(tenant=acting, name="TV")
        DeviceIdentifierFactory.create(device=device, written="SN-1")
        device_details.update(
            device=device, notes="Two\nlines", attributes={"indoor": True}, now=now
        )

        call_command("export_devices", tenant=acting.slug)
        text = capsys.readouterr().out

        assert "attribute.indoor" in text.splitlines()[0]
        row = imported(text.encode(), now)
        assert set(imports_outcomes(row)) == {"unchanged"}


def imports_outcomes(row: Any) -> list[str]:
    return list(row.rows.values_list("outcome", flat=True))


class TestPortal:
    @pytest.fixture
    def portal(self, tenant: Tenant) -> Client:
        client = Client()
        client.force_login(MembershipFactory.create(tenant=tenant, role=Role.ADMIN).user)
        return client

    def test_the_form_of_a_device_has_its_attributes(
        self, portal: Client, tenant: Tenant, device: Device
    ) -> None:
        portal.post(
            "/admin/devices/attributedefinition/add/",
            {"label": "Floor", "key": "floor", "kind": "choice", "choices": "1\n2"},
        )
        page = f"/admin/devices/device/{device.pk}/change/"

        assert "Floor" in portal.get(page).content.decode()
        data = {"name": "TV", "tags": "", "notes": "Ring twice", "attribute_floor": "2"}
        data |= {"identifiers-TOTAL_FORMS": "0", "identifiers-INITIAL_FORMS": "0"}
        assert portal.post(page, data).status_code == 302
        with tenant_scope(tenant.pk):
            assert values_of(device) == {"floor": "2"}

    def test_the_list_filters_by_attributes_and_so_does_a_bulk_operation(
        self, portal: Client, tenant: Tenant
    ) -> None:
        with tenant_scope(tenant.pk):
            define("floor", "choice", choices=["1", "2"])
            define("owner")
            for name, floor in (("TV one", "1"), ("TV two", "2")):
                device = DeviceFactory.create(tenant=tenant, name=name)
                set_values(device, floor=floor, owner="Lang")
        path = "/admin/devices/device/?attribute_floor=1&attribute_owner=Lang"

        page = portal.get(path).content.decode()
        assert "TV one" in page
        assert "TV two" not in page
        action = {"action": "bulk_add_tags", "select_across": "1", "_selected_action": "x"}
        answer = portal.post(path, action).content.decode()
        assert "floor:1;owner:Lang" in answer
