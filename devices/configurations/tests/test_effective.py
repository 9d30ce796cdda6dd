"""Recalculation of effective configurations after a layer changes."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from rest_framework.test import APIClient

from devices.configurations.documents import EMPTY_VERSION, version_of
from devices.configurations.models import EffectiveDocument, Round
from devices.configurations.services import effective, layers, recalculation, subscribers
from devices.configurations.tests.documents import (
    add_tag,
    next_steps_of,
    process_rounds,
    save_for_device,
    save_for_tag,
    save_for_tenant,
)
from devices.registry.device_report import DeviceReport
from devices.registry.events import DeviceUpdated
from devices.registry.models import Device, NextSteps
from devices.registry.services import device_details, presence, registration, retirement
from devices.registry.services.presence import ConnectReport
from devices.registry.tests.factories import DeviceFactory, TagFactory
from events.domain_events import event_from
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


def assigned_version(device: Device) -> str | None:
    return next_steps_of(device).configuration_version


def test_layers_are_merged_from_the_platform_to_the_device(device: Device, now: datetime) -> None:
    low, high = TagFactory.create_batch(2, tenant=device.tenant)
    add_tag(device, low)
    add_tag(device, high)
    layers.save_platform(document={"volume": 1, "brightness": 1, "locale": "en"}, now=now)
    save_for_tenant(device.tenant, {"volume": 2, "brightness": 2}, now=now)
    save_for_tag(low, {"volume": 3, "extra": {"a": 1}}, now=now)
    save_for_tag(high, {"volume": 4}, now=now)
    save_for_device(device, {"extra": {"b": 2}}, now=now)
    process_rounds(now)
    with tenant_scope(device.tenant_id):
        merged, source_layers = effective.explain(device)
    assert merged.document == {
        "volume": 4,
        "brightness": 2,
        "locale": "en",
        "extra": {"a": 1, "b": 2},
    }
    assert {key: source.scope for key, source in merged.sources.items()} == {
        "volume": "tag",
        "brightness": "tenant",
        "locale": "platform",
        "extra.a": "tag",
        "extra.b": "device",
    }
    assert next(source.label for source, _ in source_layers) == "Platform"
    assert assigned_version(device) == version_of(merged.document)


def test_the_version_is_the_hash_of_the_document(device: Device, now: datetime) -> None:
    other = DeviceFactory.create(tenant=device.tenant)
    save_for_device(device, {"volume": 5}, now=now)
    save_for_device(other, {"volume": 5}, now=now)
    assert assigned_version(device) == assigned_version(other) == version_of({"volume": 5})
    assert EffectiveDocument.every_tenant.count() == 1


def test_a_devices_own_layer_is_applied_immediately(device: Device, now: datetime) -> None:
    save_for_device(device, {"volume": 5}, now=now)
    assert next_steps_of(device).configuration_waiting_since == now


def test_a_tenants_layer_is_applied_by_a_round(device: Device, now: datetime) -> None:
    save_for_tenant(device.tenant, {"volume": 5}, now=now)
    assert not NextSteps.every_tenant.exists()
    process_rounds(now)
    assert assigned_version(device) == version_of({"volume": 5})


def test_the_last_tag_in_the_order_is_the_strongest(device: Device, now: datetime) -> None:
    for name, volume in (("a", 1), ("b", 2)):
        tag = TagFactory.create(tenant=device.tenant, name=name)
        add_tag(device, tag)
        save_for_tag(tag, {"volume": volume}, now=now)
    process_rounds(now)
    assert assigned_version(device) == version_of({"volume": 2})
    with tenant_scope(device.tenant_id):
        layers.put_in_order(tags=["b", "a"], now=now)
    process_rounds(now)
    assert assigned_version(device) == version_of({"volume": 1})


def test_removing_the_last_key_assigns_the_empty_version(device: Device, now: datetime) -> None:
    save_for_device(device, {"volume": 5}, now=now)
    save_for_device(device, {}, now=now)
    assert assigned_version(device) == EMPTY_VERSION


def test_nothing_is_written_without_layers(device: Device, now: datetime) -> None:
    with tenant_scope(device.tenant_id):
        assert effective.refresh([device.pk], now=now) == 0
    assert not NextSteps.every_tenant.exists()


def test_an_unchanged_version_is_not_written(device: Device, now: datetime) -> None:
    save_for_device(device, {"volume": 5}, now=now)
    later = now + timedelta(hours=1)
    save_for_tenant(device.tenant, {"volume": 4}, now=later)  # weaker than the device's layer
    process_rounds(later)
    assert next_steps_of(device).configuration_waiting_since == now


def test_the_platforms_layer_applies_to_all_tenants(device: Device, now: datetime) -> None:
    other = DeviceFactory.create(tenant=TenantFactory.create())
    layers.save_platform(document={"volume": 5}, now=now)
    process_rounds(now)
    assert assigned_version(device) == assigned_version(other) == version_of({"volume": 5})


def test_a_layer_does_not_apply_to_another_tenants_devices(device: Device, now: datetime) -> None:
    DeviceFactory.create(tenant=TenantFactory.create())
    save_for_tenant(device.tenant, {"volume": 5}, now=now)
    process_rounds(now)
    assert [steps.device_id for steps in NextSteps.every_tenant.all()] == [device.pk]


def test_a_save_requests_the_round_before_it_locks_the_calculation(
    device: Device, now: datetime
) -> None:
    """A save and the worker must use the same order of locks, to avoid deadlocks."""
    calls = []
    with (
        patch.object(recalculation, "request", side_effect=lambda **_: calls.append("round")),
        patch.object(effective, "transaction_lock", side_effect=lambda _: calls.append("lock")),
    ):
        save_for_device(device, {"volume": 5}, now=now)
    assert calls == ["round", "lock"]


def test_a_round_locks_the_calculation_before_it_selects_devices(
    device: Device, now: datetime
) -> None:
    """A device that gets a tag while the round waits for the lock must be recalculated too."""
    with patch.object(effective, "lock_calculation") as lock:
        save_for_tenant(device.tenant, {"volume": 5}, now=now)
        recalculation.process_batch(now=now)
    assert lock.call_count == 2  # once before the devices are selected


def test_a_retired_device_is_not_recalculated(tenant: Tenant, now: datetime) -> None:
    DeviceFactory.create(tenant=tenant, status="retired", retired_at=now)
    save_for_tenant(tenant, {"volume": 5}, now=now)
    process_rounds(now)
    assert not NextSteps.every_tenant.exists()


def test_a_retired_device_does_not_wait_for_a_configuration(device: Device, now: datetime) -> None:
    save_for_device(device, {"volume": 5}, now=now)
    with tenant_scope(device.tenant_id):
        retirement.retire(device=device, now=now)
    assert next_steps_of(device).configuration_waiting_since is None


def connect(device: Device, now: datetime) -> Any:
    """Load a device with its `NextSteps`. Return its connect response."""
    with tenant_scope(device.tenant_id):
        device = Device.objects.select_related("next_steps").get(pk=device.pk)
        return presence.connect(device=device, report=ConnectReport(), now=now)


class TestFirstConnect:
    def test_a_new_device_gets_its_version(self, tenant: Tenant, now: datetime) -> None:
        save_for_tenant(tenant, {"volume": 5}, now=now)
        process_rounds(now)
        with tenant_scope(tenant.pk):
            device = registration.register(report=DeviceReport(serial_number="SN-1"), now=now)
        steps = connect(device, now)
        assert steps["configuration_version"] == version_of({"volume": 5})
        assert steps["configuration_waiting"] is True
        assert assigned_version(device) == version_of({"volume": 5})

    def test_the_version_is_calculated_once(
        self, tenant: Tenant, device: Device, now: datetime
    ) -> None:
        tag = TagFactory.create(tenant=tenant)
        save_for_tag(tag, {"volume": 5}, now=now)  # the device does not have the tag
        assert connect(device, now)["configuration_version"] == EMPTY_VERSION
        with patch.object(effective, "refresh") as refresh:
            assert connect(device, now)["configuration_version"] == EMPTY_VERSION
        refresh.assert_not_called()

    def test_connect_does_not_wait_for_the_lock(
        self, tenant: Tenant, device: Device, now: datetime
    ) -> None:
        save_for_tenant(tenant, {"volume": 5}, now=now)
        with patch.object(effective, "try_transaction_lock", return_value=False):
            assert connect(device, now)["configuration_version"] is None
        assert connect(device, now)["configuration_version"] == version_of({"volume": 5})

    def test_fetching_the_configuration_waits_for_the_lock(
        self, device: Device, as_device: Callable[..., APIClient], now: datetime
    ) -> None:
        save_for_tenant(device.tenant, {"volume": 5}, now=now)
        with patch.object(effective, "try_transaction_lock", return_value=False):
            response = as_device(device).get("/devices/me/configuration")
        assert response.json()["configuration"] == {"volume": 5}

    def test_nothing_is_calculated_without_layers(self, device: Device, now: datetime) -> None:
        assert connect(device, now)["configuration_version"] is None
        assert not NextSteps.every_tenant.exists()

    def test_a_quarantined_device_gets_no_version(self, tenant: Tenant, now: datetime) -> None:
        save_for_tenant(tenant, {"volume": 5}, now=now)
        device = DeviceFactory.create(tenant=tenant, quarantined_at=now)
        assert connect(device, now)["configuration_version"] is None


def test_a_changed_tag_changes_the_configuration(device: Device, now: datetime) -> None:
    tag = TagFactory.create(tenant=device.tenant, name="lobby")
    save_for_tag(tag, {"volume": 5}, now=now)
    process_rounds(now)
    with tenant_scope(device.tenant_id):
        device_details.update(device=device, tags=["lobby"], now=now)
        event = Event.objects.get(name="device.updated")
        subscribers.recalculate_after_tag_change(event_from(event, DeviceUpdated))
    assert assigned_version(device) == version_of({"volume": 5})


class TestRounds:
    """Rounds with batches of two devices."""

    @pytest.fixture(autouse=True)
    def small_batches(self) -> Any:
        with patch.object(recalculation, "BATCH", 2):
            yield

    @pytest.fixture
    def fleet(self, tenant: Tenant) -> list[Device]:
        devices = DeviceFactory.create_batch(5, tenant=tenant)
        return sorted(devices, key=lambda device: device.pk)

    def versions(self, fleet: list[Device]) -> list[str | None]:
        by_device = dict(NextSteps.every_tenant.values_list("device_id", "configuration_version"))
        return [by_device.get(device.pk) for device in fleet]

    def test_a_round_processes_all_devices(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        save_for_tenant(tenant, {"volume": 5}, now=now)
        assert process_rounds(now) == 3
        assert self.versions(fleet) == [version_of({"volume": 5})] * 5
        assert not Round.every_tenant.exists()

    def test_an_interrupted_round_continues_after_the_last_batch(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        save_for_tenant(tenant, {"volume": 5}, now=now)
        recalculation.process_batch(now=now)
        with (
            patch.object(effective, "_assign", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            recalculation.process_batch(now=now)
        assert Round.every_tenant.get().done == 2
        assert process_rounds(now) == 2
        assert self.versions(fleet) == [version_of({"volume": 5})] * 5

    def test_a_change_during_a_round_reaches_processed_devices(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        save_for_tenant(tenant, {"volume": 5}, now=now)
        recalculation.process_batch(now=now)
        save_for_tenant(tenant, {"volume": 6}, now=now)
        assert Round.every_tenant.count() == 1
        process_rounds(now)
        assert self.versions(fleet) == [version_of({"volume": 6})] * 5

    def test_continuous_changes_do_not_starve_devices(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        for volume in range(4):
            save_for_tenant(tenant, {"volume": volume}, now=now)
            recalculation.process_batch(now=now)
        assert None not in self.versions(fleet)
        process_rounds(now)
        assert self.versions(fleet) == [version_of({"volume": 3})] * 5

    def test_a_tags_round_processes_only_devices_with_the_tag(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        tag = TagFactory.create(tenant=tenant)
        for device in fleet[:3]:
            add_tag(device, tag)
        save_for_tenant(tenant, {"volume": 4}, now=now)
        process_rounds(now)
        save_for_tag(tag, {"volume": 5}, now=now)
        assert Round.every_tenant.get().tag == tag
        assert process_rounds(now) == 2
        loud, quiet = version_of({"volume": 5}), version_of({"volume": 4})
        assert self.versions(fleet) == [loud] * 3 + [quiet] * 2

    def test_a_tenants_first_layer_assigns_versions_to_all_devices(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        save_for_device(fleet[0], {"volume": 5}, now=now)
        process_rounds(now)
        assert self.versions(fleet) == [version_of({"volume": 5}), *[EMPTY_VERSION] * 4]

    def test_rounds_of_tenants_take_turns(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        other = TenantFactory.create()
        other_device = DeviceFactory.create(tenant=other)
        save_for_tenant(tenant, {"volume": 5}, now=now)
        save_for_tenant(other, {"volume": 6}, now=now)
        # At random; the chance that a tenant never gets a turn is 2^-30.
        for second in range(1, 31):
            recalculation.process_batch(now=now + timedelta(seconds=second))
        assert assigned_version(other_device) == version_of({"volume": 6})
