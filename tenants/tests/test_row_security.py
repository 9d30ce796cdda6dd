"""Tests of row-level security: PostgreSQL isolates tenants even without a query filter."""

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
    create_missing_policies,
    require_row_security,
    scoped_models,
    tables_without_row_security,
)

pytestmark = pytest.mark.django_db


def sql(statement: str, *values: Any) -> list[Any]:
    """Run a statement; return its rows, or a list with the number of affected rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else [cursor.rowcount]


@pytest.fixture
def devices() -> tuple[Device, Device]:
    """Return devices of two tenants, each with an identifier."""
    own, foreign = DeviceFactory.create(), DeviceFactory.create()
    DeviceIdentifierFactory.create(device=own)
    DeviceIdentifierFactory.create(device=foreign)
    return own, foreign


def test_every_scoped_table_has_row_level_security() -> None:
    assert len(scoped_models()) > 8
    assert tables_without_row_security() == set()


def test_raw_sql_returns_only_the_tenants_rows(devices: tuple[Device, Device]) -> None:
    own, _ = devices

    with tenant_scope(own.tenant_id):
        assert sql("SELECT id FROM devices_device") == [(own.pk,)]
    with tenant_scope(None):
        assert sql("SELECT id FROM devices_device") == []
    with every_tenant_scope():
        assert len(sql("SELECT id FROM devices_device")) == 2


def test_the_unfiltered_manager_returns_only_the_tenants_rows(
    devices: tuple[Device, Device],
) -> None:
    own, _ = devices

    with tenant_scope(own.tenant_id):
        assert list(Device.every_tenant.all()) == [own]
        assert list(Device.every_tenant.iterator()) == [own]


def test_a_join_returns_only_the_tenants_rows(devices: tuple[Device, Device]) -> None:
    own, _ = devices

    with tenant_scope(own.tenant_id):
        joined = sql(
            "SELECT d.id FROM devices_deviceidentifier i"
            " JOIN devices_device d ON d.id = i.device_id"
        )
    assert joined == [(own.pk,)]


def test_an_update_and_a_delete_affect_only_the_tenants_rows(
    devices: tuple[Device, Device],
) -> None:
    own, foreign = devices

    with tenant_scope(own.tenant_id):
        assert sql("UPDATE devices_device SET name = 'taken'") == [1]
        assert sql("DELETE FROM devices_deviceidentifier") == [1]
    foreign.refresh_from_db()
    assert foreign.name != "taken"
    assert DeviceIdentifier.every_tenant.get().device_id == foreign.pk


def test_inserting_a_row_of_another_tenant_fails(devices: tuple[Device, Device]) -> None:
    own, foreign = devices

    with (
        tenant_scope(own.tenant_id),
        pytest.raises(DatabaseError, match="row-level security"),
        transaction.atomic(),
    ):
        Tag.every_tenant.create(name="hall", tenant_id=foreign.tenant_id)


def test_moving_a_row_to_another_tenant_fails(devices: tuple[Device, Device]) -> None:
    own, foreign = devices

    with (
        tenant_scope(own.tenant_id),
        pytest.raises(DatabaseError, match="row-level security"),
        transaction.atomic(),
    ):
        Device.every_tenant.filter(pk=own.pk).update(tenant=foreign.tenant_id)


def test_a_scope_ends_with_its_block_even_within_a_transaction(
    devices: tuple[Device, Device],
) -> None:
    own, foreign = devices

    with transaction.atomic():
        with tenant_scope(own.tenant_id):
            assert sql("SELECT id FROM devices_device") == [(own.pk,)]
        with tenant_scope(foreign.tenant_id):
            assert sql("SELECT id FROM devices_device") == [(foreign.pk,)]


@pytest.mark.django_db(transaction=True)
def test_no_scope_remains_on_the_connection(devices: tuple[Device, Device]) -> None:
    own, _ = devices

    with tenant_scope(own.tenant_id):
        assert list(Device.every_tenant.iterator()) == [own]
        assert len(sql("SELECT id FROM devices_device")) == 1
    with tenant_scope(None):
        assert sql("SELECT id FROM devices_device") == []
        assert sql("SELECT current_setting('provisioning.scope', true)") in ([("",)], [(None,)])


def test_servers_do_not_start_without_row_level_security(settings: Any) -> None:
    require_row_security()
    sql(f"DROP POLICY {POLICY} ON devices_device")

    with pytest.raises(ImproperlyConfigured, match="devices_device"):
        require_row_security()
    assert [item.id for item in run_checks(databases=["default"])] == ["tenants.W001"]
    create_missing_policies()
    require_row_security()


def test_the_database_role_does_not_bypass_row_level_security() -> None:
    assert sql("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user") == [
        (False, False)
    ]
