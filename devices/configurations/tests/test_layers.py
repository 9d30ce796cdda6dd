"""Saving, restoring and ordering layers."""

from datetime import datetime, timedelta

import pytest
from django.db import InternalError, ProgrammingError, transaction

from devices.configurations.errors import (
    ConfigurationChanged,
    InvalidDocument,
    InvalidOrder,
    InvalidSubject,
    NoSuchVersion,
)
from devices.configurations.models import (
    ConfigurationVersion,
    DeviceConfiguration,
    PlatformConfigurationVersion,
    Scope,
)
from devices.configurations.services import layers
from devices.configurations.services.layers import Subject
from devices.configurations.tests.documents import save_for_device, save_for_tag, save_for_tenant
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory, TagFactory
from events.models import Event
from tenants.context import SYSTEM, caller_scope, tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


def test_every_save_creates_a_version_with_author_and_note(tenant: Tenant, now: datetime) -> None:
    for volume, note in ((10, "quiet"), (20, "louder")):
        save_for_tenant(tenant, {"volume": volume}, note=note, now=now)
    versions = ConfigurationVersion.every_tenant.order_by("number")
    assert list(versions.values_list("number", "document", "note", "author_name")) == [
        (1, {"volume": 10}, "quiet", "system"),
        (2, {"volume": 20}, "louder", "system"),
    ]


def test_an_unchanged_document_creates_no_version(tenant: Tenant, now: datetime) -> None:
    save_for_tenant(tenant, {"volume": 10}, now=now)
    assert save_for_tenant(tenant, {"volume": 10.0}, now=now).number == 1


def test_the_database_rejects_changes_of_versions(tenant: Tenant, now: datetime) -> None:
    save_for_tenant(tenant, {"volume": 10}, now=now)
    with pytest.raises(ProgrammingError, match="never changed"), transaction.atomic():
        ConfigurationVersion.every_tenant.update(note="other")
    with pytest.raises(ProgrammingError, match="never changed"), transaction.atomic():
        ConfigurationVersion.every_tenant.all().delete()


def test_the_audit_log_has_the_old_and_new_values_of_a_save(tenant: Tenant, now: datetime) -> None:
    save_for_tenant(tenant, {"volume": 10, "brightness": 1}, now=now)
    save_for_tenant(tenant, {"volume": 20, "brightness": 1}, note="louder", now=now)
    event = Event.every_tenant.filter(name="configuration.saved").latest("id")
    assert event.changes == {"volume": [10, 20]}
    assert (event.data["number"], event.data["note"]) == (2, "louder")


def test_a_save_based_on_an_old_version_is_rejected(tenant: Tenant, now: datetime) -> None:
    save_for_tenant(tenant, {"volume": 10}, based_on=0, now=now)
    save_for_tenant(tenant, {"volume": 20}, based_on=1, now=now)
    with pytest.raises(ConfigurationChanged) as error:
        save_for_tenant(tenant, {"volume": 30}, based_on=1, now=now)
    assert error.value.current == {"number": 2}
    assert DeviceConfiguration.every_tenant.get().document == {"volume": 20}


def test_an_invalid_document_is_not_saved(tenant: Tenant, now: datetime) -> None:
    with pytest.raises(InvalidDocument) as error:
        save_for_tenant(tenant, {"volume": 1000, "brightness": 1000}, now=now)
    assert [detail.field for detail in error.value.details] == [
        "document.brightness",
        "document.volume",
    ]
    assert not DeviceConfiguration.every_tenant.exists()


def test_a_version_is_restored_as_a_new_version(tenant: Tenant, now: datetime) -> None:
    layer = save_for_tenant(tenant, {"volume": 10}, now=now)
    layer = save_for_tenant(tenant, {"volume": 20}, now=now)
    with tenant_scope(tenant.pk):
        restored = layers.restore(layer=layer, number=1, now=now)
    assert (restored.number, restored.document) == (3, {"volume": 10})
    newest = ConfigurationVersion.every_tenant.get(number=3)
    assert newest.restored_number == 1


def test_an_unknown_version_cannot_be_restored(tenant: Tenant, now: datetime) -> None:
    layer = save_for_tenant(tenant, {"volume": 10}, now=now)
    with tenant_scope(tenant.pk), pytest.raises(NoSuchVersion):
        layers.restore(layer=layer, number=7, now=now)


def test_a_new_tag_layer_is_the_strongest(tenant: Tenant, now: datetime) -> None:
    first, second = TagFactory.create_batch(2, tenant=tenant)
    ranks = [save_for_tag(tag, {"volume": 1}, now=now).rank for tag in (first, second)]
    assert ranks == [1, 2]


def test_tags_can_be_reordered(tenant: Tenant, now: datetime) -> None:
    for name in ("a", "b", "c"):
        save_for_tag(TagFactory.create(tenant=tenant, name=name), {"volume": 1}, now=now)
    with tenant_scope(tenant.pk):
        layers.put_in_order(tags=["c", "a", "b"], now=now)
        ordered = DeviceConfiguration.objects.of_tags()
        assert [str(layer.tag) for layer in ordered] == ["c", "a", "b"]
    event = Event.every_tenant.get(name="configuration.reordered")
    assert event.changes == {"tags": [["a", "b", "c"], ["c", "a", "b"]]}


@pytest.mark.parametrize(
    ("order", "field"),
    [(["a", "a"], "tags.1"), (["a", "x"], "tags.1"), (["a"], "tags"), ([], "tags")],
)
def test_an_order_must_contain_every_tag_once(
    tenant: Tenant, now: datetime, order: list[str], field: str
) -> None:
    for name in ("a", "b"):
        save_for_tag(TagFactory.create(tenant=tenant, name=name), {"volume": 1}, now=now)
    with tenant_scope(tenant.pk), pytest.raises(InvalidOrder) as error:
        layers.put_in_order(tags=order, now=now)
    assert error.value.field == field


def test_a_layer_requires_exactly_one_subject(tenant: Tenant, now: datetime) -> None:
    tag = TagFactory.create(tenant=tenant)
    for subject in (
        Subject("tag"),
        Subject("tenant", tag=tag),
        Subject("platform"),
        Subject("galaxy"),
    ):
        with tenant_scope(tenant.pk), pytest.raises(InvalidSubject):
            layers.save(subject=subject, document={}, now=now)


def test_a_retired_device_cannot_have_a_new_layer(tenant: Tenant, now: datetime) -> None:
    device = DeviceFactory.create(tenant=tenant, status="retired", retired_at=now)
    with pytest.raises(InvalidSubject):
        save_for_device(device, {"volume": 1}, now=now)


def test_the_platforms_layer_has_versions(now: datetime) -> None:
    layers.save_platform(document={"volume": 10}, now=now)
    layer = layers.save_platform(document={"volume": 20}, based_on=1, now=now)
    layers.restore(layer=layer, number=1, now=now + timedelta(minutes=1))
    versions = PlatformConfigurationVersion.objects.order_by("number")
    assert [version.document["volume"] for version in versions] == [10, 20, 10]
    with pytest.raises((ProgrammingError, InternalError)), transaction.atomic():
        PlatformConfigurationVersion.objects.all().delete()


def test_tenants_have_separate_layers(tenant: Tenant, device: Device, now: datetime) -> None:
    other = TenantFactory.create()
    save_for_tenant(tenant, {"volume": 1}, now=now)
    save_for_tenant(other, {"volume": 2}, now=now)
    with tenant_scope(tenant.pk):
        assert DeviceConfiguration.objects.get().document == {"volume": 1}


def test_the_author_of_a_version_is_the_caller(tenant: Tenant, now: datetime) -> None:
    with caller_scope(type(SYSTEM)(kind="member", name="ann@example.com")):
        save_for_tenant(tenant, {"volume": 1}, now=now)
    assert ConfigurationVersion.every_tenant.get().author_name == "ann@example.com"


def test_layers_of_every_scope_can_be_saved(device: Device, now: datetime) -> None:
    tag = TagFactory.create(tenant=device.tenant)
    save_for_tenant(device.tenant, {"volume": 1}, now=now)
    save_for_tag(tag, {"volume": 2}, now=now)
    save_for_device(device, {"volume": 3}, now=now)
    scopes = DeviceConfiguration.every_tenant.values_list("scope", flat=True)
    assert set(scopes) == {Scope.TENANT, Scope.TAG, Scope.DEVICE}
