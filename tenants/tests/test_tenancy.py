"""Whose rows are seen: the wall that every scoped model stands behind by existing."""

import contextvars
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction

from devices.registry.models import Device, DeviceIdentifier, Tag
from devices.registry.tests.factories import DeviceFactory
from provisioning.var import BASE
from tenants.constraints import SameTenant
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Tenant, TenantOwned
from tenants.postgresql.row_security import scoped_models
from tenants.tests.factories import TenantFactory

SCOPED = scoped_models()
OURS = [
    model
    for model in apps.get_models()
    if (BASE / model.__module__.split(".")[0]).is_dir()
]
GLOBAL = {
    *("Tenant", "User", "SecondFactor"),  # people may be in several tenants
    *("DeviceCertificate", "Delivery"),
    *("CertificateAuthority", "RevocationList", "Responder"),  # of all tenants
    *("RenewalCampaign", "Inspection", "Drift"),  # the operator's
    *("Seal", "Unsealed"),  # digests and ids, of every tenant's events
    *("PlatformConfiguration", "PlatformConfigurationVersion", "PlatformPreference"),
    "Pairing",  # of nobody until a member approves it
}

pytestmark = pytest.mark.django_db


def test_every_model_of_ours_is_scoped_or_known_to_be_global() -> None:
    assert {model.__name__ for model in OURS if model not in SCOPED} == GLOBAL


@pytest.mark.parametrize("model", SCOPED, ids=lambda model: model.__name__)
def test_with_no_tenant_bound_nothing_is_found(model: Any) -> None:
    assert model.objects.all().query.is_empty()


@pytest.mark.parametrize("model", SCOPED, ids=lambda model: model.__name__)
def test_every_query_of_a_bound_tenant_names_it(model: Any) -> None:
    tenant_id = uuid4()

    with tenant_scope(tenant_id):
        sql, values = model.objects.all().query.sql_with_params()

    assert f'"{model._meta.db_table}"."tenant_id" = ' in sql
    assert tenant_id in values


@pytest.mark.parametrize(
    "model",
    [model for model in SCOPED if issubclass(model, TenantOwned)],
    ids=lambda model: model.__name__,
)
def test_every_pointer_between_scoped_rows_is_held_within_the_tenant(
    model: Any,
) -> None:
    pointers = {
        field.name
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignKey) and field.related_model in SCOPED
    }
    held = {
        constraint.field
        for constraint in model._meta.constraints
        if isinstance(constraint, SameTenant)
    }
    assert pointers == held


def test_a_tenant_sees_its_own_rows_and_system_code_sees_all() -> None:
    mine, other = DeviceFactory.create(), DeviceFactory.create()

    with tenant_scope(mine.tenant_id):
        assert list(Device.objects.all()) == [mine]
        assert not Device.objects.filter(pk=other.pk).exists()
    assert Device.every_tenant.count() == 2


def test_what_is_made_belongs_to_the_tenant_in_whose_scope_it_is_made(
    tenant: Tenant,
) -> None:
    with tenant_scope(tenant.pk):
        tag = Tag.objects.create(name="hall")

    assert tag.tenant_id == tenant.pk


def test_nothing_is_made_for_nobody() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Tag.objects.create(name="hall")


def test_a_row_that_points_at_another_tenants_row_cannot_be_saved(
    tenant: Tenant,
) -> None:
    strangers = DeviceFactory.create()

    with tenant_scope(tenant.pk):  # noqa: SIM117 # the constraint waits for the commit
        with pytest.raises(IntegrityError, match="identifier_of_its_tenants_device"):
            with transaction.atomic():
                DeviceIdentifier.objects.create(
                    device=strangers, kind="serial_number", value="SN-1"
                )
                with connection.cursor() as cursor:
                    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_scopes_nest_and_end() -> None:
    one, other = uuid4(), uuid4()

    with tenant_scope(one):
        with tenant_scope(other):
            assert current_tenant_id() == other
        assert current_tenant_id() == one
    assert current_tenant_id() is None


def test_another_thread_of_work_starts_unbound() -> None:
    with tenant_scope(uuid4()):
        assert contextvars.Context().run(current_tenant_id) is None


def test_a_request_leaves_no_scope_behind(client: Any, tenant: Tenant) -> None:
    TenantFactory.create()
    client.get("/devices")

    assert current_tenant_id() is None
