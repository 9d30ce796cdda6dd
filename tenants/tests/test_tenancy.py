"""Tests of tenant isolation for every scoped model. New models are covered automatically."""

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
PROJECT_MODELS = [
    model for model in apps.get_models() if (BASE / model.__module__.split(".")[0]).is_dir()
]
GLOBAL_MODELS = {
    "Tenant",
    # A user may be a member of several tenants.
    "User",
    "SecondFactor",
    "UserSession",
    "DeviceCertificate",
    "Delivery",
    # The CA is shared by all tenants.
    "CertificateAuthority",
    "RevocationList",
    "Responder",
    # Managed by the operator of the installation.
    "RenewalCampaign",
    "Inspection",
    "Drift",
    "PlatformConfiguration",
    "PlatformConfigurationVersion",
    "PlatformPreference",
    # What stays after a tenant was deleted.
    "DeletedTenant",
    "ForgottenRevocation",
    # Contain only digests and ids of events.
    "Seal",
    "Unsealed",
    # Says when rules of all tenants were evaluated.
    "FormEvaluation",
    # Has no tenant until a member approves it.
    "Pairing",
}

pytestmark = pytest.mark.django_db


def test_every_model_is_scoped_or_listed_as_global() -> None:
    unscoped = {model.__name__ for model in PROJECT_MODELS if model not in SCOPED}
    assert unscoped == GLOBAL_MODELS


@pytest.mark.parametrize("model", SCOPED, ids=lambda model: model.__name__)
def test_queries_without_a_tenant_are_empty(model: Any) -> None:
    assert model.objects.all().query.is_empty()


@pytest.mark.parametrize("model", SCOPED, ids=lambda model: model.__name__)
def test_queries_filter_by_the_current_tenant(model: Any) -> None:
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
def test_every_foreign_key_between_scoped_models_has_a_same_tenant_constraint(model: Any) -> None:
    foreign_keys = {
        field.name
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignKey) and field.related_model in SCOPED
    }
    constrained = {
        constraint.field
        for constraint in model._meta.constraints
        if isinstance(constraint, SameTenant)
    }
    assert foreign_keys == constrained


def test_a_tenant_sees_its_own_rows_and_system_code_sees_all() -> None:
    own, foreign = DeviceFactory.create(), DeviceFactory.create()

    with tenant_scope(own.tenant_id):
        assert list(Device.objects.all()) == [own]
        assert not Device.objects.filter(pk=foreign.pk).exists()
    assert Device.every_tenant.count() == 2


def test_a_new_row_belongs_to_the_current_tenant(tenant: Tenant) -> None:
    with tenant_scope(tenant.pk):
        tag = Tag.objects.create(name="hall")

    assert tag.tenant_id == tenant.pk


def test_creating_a_row_without_a_tenant_fails() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Tag.objects.create(name="hall")


def test_a_reference_to_another_tenants_row_cannot_be_saved(tenant: Tenant) -> None:
    foreign = DeviceFactory.create()

    with tenant_scope(tenant.pk):  # noqa: SIM117 # the constraint is deferred
        with pytest.raises(IntegrityError, match="identifier_of_its_tenants_device"):
            with transaction.atomic():
                DeviceIdentifier.objects.create(device=foreign, kind="serial_number", value="SN-1")
                with connection.cursor() as cursor:
                    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_nested_scopes_are_restored() -> None:
    outer, inner = uuid4(), uuid4()

    with tenant_scope(outer):
        with tenant_scope(inner):
            assert current_tenant_id() == inner
        assert current_tenant_id() == outer
    assert current_tenant_id() is None


def test_a_new_context_has_no_current_tenant() -> None:
    with tenant_scope(uuid4()):
        assert contextvars.Context().run(current_tenant_id) is None


def test_a_request_leaves_no_current_tenant(client: Any, tenant: Tenant) -> None:
    TenantFactory.create()
    client.get("/devices")

    assert current_tenant_id() is None
