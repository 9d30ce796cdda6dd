"""Before a layer is saved: how many and which devices change, and in which keys."""

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
    for_device,
    for_tag,
    for_tenant,
    told,
    wear,
    work_all,
)
from devices.registry.models import Device, NextSteps, Tag
from devices.registry.tests.factories import DeviceFactory, TagFactory
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet(tenant: Tenant) -> list[Device]:
    made: list[Device] = DeviceFactory.create_batch(5, tenant=tenant)
    return sorted(made, key=lambda device: device.pk)


@pytest.fixture
def tag(tenant: Tenant, fleet: list[Device]) -> Tag:
    """Worn by the first two devices."""
    made: Tag = TagFactory.create(tenant=tenant)
    for device in fleet[:2]:
        wear(device, made)
    return made


def previewed(tenant: Tenant, document: Any, **more: Any) -> Preview:
    subject = more.pop("subject", Subject("tenant"))
    with tenant_scope(tenant.pk):
        return preview.preview(subject=subject, document=document, **more)


def test_every_device_changes_that_has_no_stronger_layer(
    tenant: Tenant, fleet: list[Device], tag: Tag, now: datetime
) -> None:
    for_tag(tag, {"volume": 5}, now=now)
    told = previewed(tenant, {"volume": 9, "brightness": 1})
    assert (told.looked_at, told.changing) == (5, 5)
    assert told.keys == {"brightness": 5, "volume": 3}


def test_it_names_the_devices_with_what_changes(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    for_device(fleet[0], {"volume": 5}, now=now)
    for_tenant(tenant, {"volume": 1}, now=now)
    told = previewed(tenant, {"volume": 9})
    assert [device.name for device in told.devices] == [
        device.name for device in fleet[1:]
    ]
    (change,) = told.devices[0].changes
    assert (change.key, change.before, change.after) == ("volume", 1, 9)


def test_a_document_that_is_there_already_changes_nothing(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    for_tenant(tenant, {"volume": 1}, now=now)
    told = previewed(tenant, {"volume": 1})
    assert (told.looked_at, told.changing, told.devices) == (5, 0, [])


def test_a_preview_saves_nothing(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    previewed(tenant, {"volume": 1})
    assert not DeviceConfiguration.every_tenant.exists()
    assert not NextSteps.every_tenant.exists()


def test_a_tag_changes_the_devices_that_wear_it(
    tenant: Tenant, tag: Tag, fleet: list[Device]
) -> None:
    told = previewed(tenant, {"volume": 1}, subject=Subject("tag", tag=tag))
    assert (told.looked_at, told.changing) == (2, 2)


def test_a_weaker_tag_does_not_change_what_a_stronger_one_says(
    tenant: Tenant, tag: Tag, fleet: list[Device], now: datetime
) -> None:
    stronger = TagFactory.create(tenant=tenant)
    wear(fleet[0], stronger)
    for_tag(tag, {"volume": 1}, now=now)
    for_tag(stronger, {"volume": 2}, now=now)
    told = previewed(tenant, {"volume": 3}, subject=Subject("tag", tag=tag))
    assert [device.device_id for device in told.devices] == [fleet[1].pk]


def test_a_tag_without_a_layer_would_be_the_strongest(
    tenant: Tenant, tag: Tag, fleet: list[Device], now: datetime
) -> None:
    weaker = TagFactory.create(tenant=tenant)
    wear(fleet[0], weaker)
    for_tag(weaker, {"volume": 1}, now=now)
    told = previewed(tenant, {"volume": 3}, subject=Subject("tag", tag=tag))
    assert told.changing == 2


def test_one_device(tenant: Tenant, fleet: list[Device], now: datetime) -> None:
    for_tenant(tenant, {"volume": 3}, now=now)
    subject = Subject("device", device=fleet[2])
    assert previewed(tenant, {"volume": 3}, subject=subject).changing == 0
    told = previewed(tenant, {"volume": None}, subject=subject)
    assert [device.device_id for device in told.devices] == [fleet[2].pk]
    assert told.devices[0].changes[0].after is None


def test_an_empty_document_gives_back_what_weaker_layers_say(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    layers.save_platform(document={"volume": 7}, now=now)
    for_tenant(tenant, {"volume": 3}, now=now)
    told = previewed(tenant, {})
    (change,) = told.devices[0].changes
    assert (change.before, change.after) == (3, 7)


def test_devices_come_in_pages(tenant: Tenant, fleet: list[Device]) -> None:
    first = previewed(tenant, {"volume": 1}, limit=3)
    rest = previewed(tenant, {"volume": 1}, limit=3, after=first.next_after)
    assert [len(first.devices), len(rest.devices)] == [3, 2]
    assert rest.next_after is None
    named = [device.device_id for device in first.devices + rest.devices]
    assert named == [device.pk for device in fleet]


def test_a_list_goes_on_past_many_that_do_not_change(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    for device in fleet[:4]:
        for_device(device, {"volume": 5}, now=now)
    with patch.object(preview, "STEP", 1):
        told = previewed(tenant, {"volume": 1})
    assert [device.device_id for device in told.devices] == [fleet[4].pk]


def test_very_many_combinations_make_it_a_lower_bound(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    for device in fleet:
        for_device(device, {"brightness": 5}, now=now)
    DeviceFactory.create_batch(3, tenant=tenant)  # the largest group is looked at first
    with patch.object(preview, "MOST_COMBINATIONS", 2):
        told = previewed(tenant, {"volume": 1})
    assert (told.looked_at, told.changing, told.complete) == (8, 4, False)


def test_retired_and_strangers_devices_are_not_counted(
    tenant: Tenant, fleet: list[Device], now: datetime
) -> None:
    DeviceFactory.create(tenant=tenant, status="retired", retired_at=now)
    DeviceFactory.create(tenant=TenantFactory.create())
    assert previewed(tenant, {"volume": 1}).looked_at == 5


def test_a_bad_document_is_refused(tenant: Tenant) -> None:
    with pytest.raises(InvalidDocument):
        previewed(tenant, {"volume": 1000})


def test_what_a_preview_says_is_what_a_save_does(
    tenant: Tenant, fleet: list[Device], tag: Tag, now: datetime
) -> None:
    for_tag(tag, {"volume": 5, "locale": "de"}, now=now)
    for_device(fleet[4], {"volume": 6}, now=now)
    for_tenant(tenant, {"volume": 1}, now=now)
    work_all(now)
    before = {device.pk: told(device).configuration_version for device in fleet}
    said = previewed(tenant, {"volume": 2})
    for_tenant(tenant, {"volume": 2}, now=now)
    work_all(now)
    changed = {
        device.pk
        for device in fleet
        if told(device).configuration_version != before[device.pk]
    }
    assert {device.device_id for device in said.devices} == changed
