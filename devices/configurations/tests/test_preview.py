"""Preview of the devices and keys that a save would change."""

from datetime import datetime
from typing import Any
from unittest.mock import patch

import pytest

from devices.configurations.errors import InvalidDocument
from devices.configurations.models import DeviceConfiguration
from devices.configurations.services import layers, preview
from devices.configurations.services.layers import Subject
from devices.configurations.services.preview import Preview
from devices.configurations.tests.documents import (
    add_tag,
    next_steps_of,
    process_rounds,
    save_for_device,
    save_for_tag,
    save_for_tenant,
)
from devices.registry.models import Device, NextSteps, Tag
from devices.registry.tests.factories import DeviceFactory, TagFactory
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet(tenant: Tenant) -> list[Device]:
    devices = DeviceFactory.create_batch(5, tenant=tenant)
    return sorted(devices, key=lambda device: device.pk)


@pytest.fixture
def tag(tenant: Tenant, fleet: list[Device]) -> Tag:
    """A tag of the first two devices."""
    tag: Tag = TagFactory.create(tenant=tenant)
    for device in fleet[:2]:
        add_tag(device, tag)
    return tag


def make_preview(tenant: Tenant, document: Any, **options: Any) -> Preview:
    subject = options.pop("subject", Subject("tenant"))
    with tenant_scope(tenant.pk):
        return preview.preview(subject=subject, document=document, **options)


def test_only_devices_without_a_stronger_layer_change(
    tenant: Tenant, fleet: list[Device], tag: Tag, now: datetime
) -> None:
    save_for_tag(tag, {"volume": 5}, now=now)
    result = make_preview(tenant, {"volume": 9, "brightness": 1})
    assert (result.looked_at, result.changing) == (5, 5)
    assert result.keys == {"brightness": 5, "volume": 3}


def test_a_preview_lists_devices_with_their_changes(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    save_for_device(fleet[0], {"volume": 5}, now=now)
    save_for_tenant(tenant, {"volume": 1}, now=now)
    result = make_preview(tenant, {"volume": 9})
    assert [device.name for device in result.devices] == [device.name for device in fleet[1:]]
    (change,) = result.devices[0].changes
    assert (change.key, change.before, change.after) == ("volume", 1, 9)


def test_an_unchanged_document_changes_no_device(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    save_for_tenant(tenant, {"volume": 1}, now=now)
    result = make_preview(tenant, {"volume": 1})
    assert (result.looked_at, result.changing, result.devices) == (5, 0, [])


def test_a_preview_saves_nothing(tenant: Tenant, fleet: list[Device], now: datetime) -> None:
    make_preview(tenant, {"volume": 1})
    assert not DeviceConfiguration.every_tenant.exists()
    assert not NextSteps.every_tenant.exists()


def test_a_tags_layer_changes_devices_with_the_tag(
    tenant: Tenant, tag: Tag, fleet: list[Device]
) -> None:
    result = make_preview(tenant, {"volume": 1}, subject=Subject("tag", tag=tag))
    assert (result.looked_at, result.changing) == (2, 2)


def test_a_weaker_tag_does_not_override_a_stronger_one(
    tenant: Tenant, tag: Tag, fleet: list[Device], now: datetime
) -> None:
    stronger = TagFactory.create(tenant=tenant)
    add_tag(fleet[0], stronger)
    save_for_tag(tag, {"volume": 1}, now=now)
    save_for_tag(stronger, {"volume": 2}, now=now)
    result = make_preview(tenant, {"volume": 3}, subject=Subject("tag", tag=tag))
    assert [device.device_id for device in result.devices] == [fleet[1].pk]


def test_a_tag_without_a_layer_would_be_the_strongest(
    tenant: Tenant, tag: Tag, fleet: list[Device], now: datetime
) -> None:
    weaker = TagFactory.create(tenant=tenant)
    add_tag(fleet[0], weaker)
    save_for_tag(weaker, {"volume": 1}, now=now)
    result = make_preview(tenant, {"volume": 3}, subject=Subject("tag", tag=tag))
    assert result.changing == 2


def test_a_devices_layer_changes_only_that_device(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    save_for_tenant(tenant, {"volume": 3}, now=now)
    subject = Subject("device", device=fleet[2])
    assert make_preview(tenant, {"volume": 3}, subject=subject).changing == 0
    result = make_preview(tenant, {"volume": None}, subject=subject)
    assert [device.device_id for device in result.devices] == [fleet[2].pk]
    assert result.devices[0].changes[0].after is None


def test_an_empty_document_restores_the_values_of_weaker_layers(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    layers.save_platform(document={"volume": 7}, now=now)
    save_for_tenant(tenant, {"volume": 3}, now=now)
    result = make_preview(tenant, {})
    (change,) = result.devices[0].changes
    assert (change.before, change.after) == (3, 7)


def test_the_list_of_devices_is_paginated(tenant: Tenant, fleet: list[Device]) -> None:
    first = make_preview(tenant, {"volume": 1}, limit=3)
    rest = make_preview(tenant, {"volume": 1}, limit=3, after=first.next_after)
    assert [len(first.devices), len(rest.devices)] == [3, 2]
    assert rest.next_after is None
    listed = [device.device_id for device in first.devices + rest.devices]
    assert listed == [device.pk for device in fleet]


def test_the_list_skips_devices_that_do_not_change(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    for device in fleet[:4]:
        save_for_device(device, {"volume": 5}, now=now)
    with patch.object(preview, "STEP", 1):
        result = make_preview(tenant, {"volume": 1})
    assert [device.device_id for device in result.devices] == [fleet[4].pk]


def test_too_many_combinations_make_the_preview_incomplete(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    for device in fleet:
        save_for_device(device, {"brightness": 5}, now=now)
    DeviceFactory.create_batch(3, tenant=tenant)  # the largest group is examined first
    with patch.object(preview, "MAX_COMBINATIONS", 2):
        result = make_preview(tenant, {"volume": 1})
    assert (result.looked_at, result.changing, result.complete) == (8, 4, False)


def test_retired_devices_and_other_tenants_devices_are_not_counted(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    DeviceFactory.create(tenant=tenant, status="retired", retired_at=now)
    DeviceFactory.create(tenant=TenantFactory.create())
    assert make_preview(tenant, {"volume": 1}).looked_at == 5


def test_an_invalid_document_is_rejected(tenant: Tenant) -> None:
    with pytest.raises(InvalidDocument):
        make_preview(tenant, {"volume": 1000})


def test_a_preview_lists_exactly_the_devices_that_a_save_changes(
    tenant: Tenant, fleet: list[Device], tag: Tag, now: datetime
) -> None:
    save_for_tag(tag, {"volume": 5, "locale": "de"}, now=now)
    save_for_device(fleet[4], {"volume": 6}, now=now)
    save_for_tenant(tenant, {"volume": 1}, now=now)
    process_rounds(now)
    before = {device.pk: next_steps_of(device).configuration_version for device in fleet}
    result = make_preview(tenant, {"volume": 2})
    save_for_tenant(tenant, {"volume": 2}, now=now)
    process_rounds(now)
    changed = {
        device.pk
        for device in fleet
        if next_steps_of(device).configuration_version != before[device.pk]
    }
    assert {device.device_id for device in result.devices} == changed
