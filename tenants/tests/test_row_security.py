"""The second wall: what PostgreSQL itself shows, whatever the code forgets."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection, transaction

from devices.registry.models import Device, DeviceIdentifier, Tag
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from tenants.context import every_tenant_scope, tenant_scope
from tenants.postgresql.row_security import (
    POLICY,
    raise_wall,
    refuse_to_start_without_wall,
    scoped_models,
    tables_without_wall,
)

pytestmark = pytest.mark.django_db


def sql(statement: str, *values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else [cursor.rowcount]


@pytest.fixture
def two() -> tuple[Device, Device]:
    """A device of each of two tenants, both with an identifier."""
    mine, strangers = DeviceFactory.create(), DeviceFactory.create()
    DeviceIdentifierFactory.create(device=mine)
    DeviceIdentifierFactory.create(device=strangers)
    return mine, strangers


def test_every_scoped_table_has_its_wall() -> None:
    assert len(scoped_models()) > 8
    assert tables_without_wall() == set()


def test_raw_sql_sees_the_tenants_rows_only(two: tuple[Device, Device]) -> None:
    mine, _ = two

    with tenant_scope(mine.tenant_id):
        assert sql("SELECT id FROM devices_device") == [(mine.pk,)]
    with tenant_scope(None):
        assert sql("SELECT id FROM devices_device") == []
    with every_tenant_scope():
        assert len(sql("SELECT id FROM devices_device")) == 2


def test_a_forgotten_manager_sees_the_tenants_rows_only(
    two: tuple[Device, Device],
) -> None:
    mine, _ = two

    with tenant_scope(mine.tenant_id):
        assert list(Device.every_tenant.all()) == [mine]
        assert list(Device.every_tenant.iterator()) == [mine]


def test_a_join_sees_the_tenants_rows_only(two: tuple[Device, Device]) -> None:
    mine, _ = two

    with tenant_scope(mine.tenant_id):
        joined = sql(
            "SELECT d.id FROM devices_deviceidentifier i"
            " JOIN devices_device d ON d.id = i.device_id"
        )
    assert joined == [(mine.pk,)]


def test_an_update_and_a_delete_touch_the_tenants_rows_only(
    two: tuple[Device, Device],
) -> None:
    mine, strangers = two

    with tenant_scope(mine.tenant_id):
        assert sql("UPDATE devices_device SET name = 'taken'") == [1]
        assert sql("DELETE FROM devices_deviceidentifier") == [1]
    strangers.refresh_from_db()
    assert strangers.name != "taken"
    assert DeviceIdentifier.every_tenant.get().device_id == strangers.pk


def test_nothing_is_inserted_for_another_tenant(two: tuple[Device, Device]) -> None:
    mine, strangers = two

    with (
        tenant_scope(mine.tenant_id),
        pytest.raises(DatabaseError, match="row-level security"),
        transaction.atomic(),
    ):
        Tag.every_tenant.create(name="hall", tenant_id=strangers.tenant_id)


def test_nothing_changes_hands(two: tuple[Device, Device]) -> None:
    mine, strangers = two

    with (
        tenant_scope(mine.tenant_id),
        pytest.raises(DatabaseError, match="row-level security"),
        transaction.atomic(),
    ):
        Device.every_tenant.filter(pk=mine.pk).update(tenant=strangers.tenant_id)


def test_a_scope_is_gone_with_its_block_even_inside_a_transaction(
    two: tuple[Device, Device],
) -> None:
    mine, strangers = two

    with transaction.atomic():
        with tenant_scope(mine.tenant_id):
            assert sql("SELECT id FROM devices_device") == [(mine.pk,)]
        with tenant_scope(strangers.tenant_id):
            assert sql("SELECT id FROM devices_device") == [(strangers.pk,)]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_left_on_the_connection(two: tuple[Device, Device]) -> None:
    mine, _ = two

    with tenant_scope(mine.tenant_id):
        assert list(Device.every_tenant.iterator()) == [mine]
        assert len(sql("SELECT id FROM devices_device")) == 1
    with tenant_scope(None):
        assert sql("SELECT id FROM devices_device") == []
        assert sql("SELECT current_setting('provisioning.scope', true)") in (
            [("",)],
            [(None,)],
        )


def test_without_its_wall_nothing_starts(settings: Any) -> None:
    refuse_to_start_without_wall()
    sql(f"DROP POLICY {POLICY} ON devices_device")

    with pytest.raises(ImproperlyConfigured, match="devices_device"):
        refuse_to_start_without_wall()
    assert [item.id for item in run_checks(databases=["default"])] == ["tenants.W001"]
    raise_wall()
    refuse_to_start_without_wall()


def test_the_role_is_held_by_the_wall() -> None:
    assert sql(
        "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    ) == [(False, False)]
