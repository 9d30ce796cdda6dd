"""What each device should have, worked out after every change of a layer."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from rest_framework.test import APIClient

from devices.configurations.documents import NOTHING, version_of
from devices.configurations.models import EffectiveDocument, Round
from devices.configurations.services import (
    connect_response,
    effective,
    layers,
    recalculation,
    subscribers,
)
from devices.configurations.tests.documents import (
    for_device,
    for_tag,
    for_tenant,
    told,
    wear,
    work_all,
)
from devices.registry.device_report import Box
from devices.registry.events import DeviceUpdated
from devices.registry.models import Device, NextSteps
from devices.registry.services import presence, registration
from devices.registry.services.presence import Report
from devices.registry.tests.factories import DeviceFactory, TagFactory
from events.domain_events import event_from
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


def version_told(device: Device) -> str | None:
    return told(device).configuration_version


def test_layers_go_from_the_platform_to_the_device(
    device: Device, now: datetime
) -> None:
    low, high = TagFactory.create_batch(2, tenant=device.tenant)
    wear(device, low)
    wear(device, high)
    layers.save_platform(
        document={"volume": 1, "brightness": 1, "locale": "en"}, now=now
    )
    for_tenant(device.tenant, {"volume": 2, "brightness": 2}, now=now)
    for_tag(low, {"volume": 3, "extra": {"a": 1}}, now=now)
    for_tag(high, {"volume": 4}, now=now)
    for_device(device, {"extra": {"b": 2}}, now=now)
    work_all(now)
    with tenant_scope(device.tenant_id):
        laid, found = effective.explain(device)
    assert laid.document == {
        "volume": 4,
        "brightness": 2,
        "locale": "en",
        "extra": {"a": 1, "b": 2},
    }
    assert {key: source.scope for key, source in laid.sources.items()} == {
        "volume": "tag",
        "brightness": "tenant",
        "locale": "platform",
        "extra.a": "tag",
        "extra.b": "device",
    }
    assert next(source.label for source, _ in found) == "Platform"
    assert version_told(device) == version_of(laid.document)


def test_the_version_is_the_hash_of_the_content(device: Device, now: datetime) -> None:
    other = DeviceFactory.create(tenant=device.tenant)
    for_device(device, {"volume": 5}, now=now)
    for_device(other, {"volume": 5}, now=now)
    assert version_told(device) == version_told(other) == version_of({"volume": 5})
    assert EffectiveDocument.every_tenant.count() == 1


def test_a_devices_own_layer_holds_at_once(device: Device, now: datetime) -> None:
    for_device(device, {"volume": 5}, now=now)
    assert told(device).configuration_waiting_since == now


def test_a_layer_of_many_is_worked_out_by_a_worker(
    device: Device, now: datetime
) -> None:
    for_tenant(device.tenant, {"volume": 5}, now=now)
    assert not NextSteps.every_tenant.exists()
    work_all(now)
    assert version_told(device) == version_of({"volume": 5})


def test_the_order_of_tags_decides(device: Device, now: datetime) -> None:
    for name, volume in (("a", 1), ("b", 2)):
        tag = TagFactory.create(tenant=device.tenant, name=name)
        wear(device, tag)
        for_tag(tag, {"volume": volume}, now=now)
    work_all(now)
    assert version_told(device) == version_of({"volume": 2})
    with tenant_scope(device.tenant_id):
        layers.put_in_order(tags=["b", "a"], now=now)
    work_all(now)
    assert version_told(device) == version_of({"volume": 1})


def test_what_no_layer_wants_any_more_is_told_too(
    device: Device, now: datetime
) -> None:
    for_device(device, {"volume": 5}, now=now)
    for_device(device, {}, now=now)
    assert version_told(device) == NOTHING


def test_where_nobody_says_anything_nothing_is_written(
    device: Device, now: datetime
) -> None:
    with tenant_scope(device.tenant_id):
        assert effective.refresh([device.pk], now=now) == 0
    assert not NextSteps.every_tenant.exists()


def test_what_has_not_changed_is_not_written(device: Device, now: datetime) -> None:
    for_device(device, {"volume": 5}, now=now)
    later = now + timedelta(hours=1)
    for_tenant(device.tenant, {"volume": 4}, now=later)  # the device's own is stronger
    work_all(later)
    assert told(device).configuration_waiting_since == now


def test_the_platform_reaches_every_tenant(device: Device, now: datetime) -> None:
    other = DeviceFactory.create(tenant=TenantFactory.create())
    layers.save_platform(document={"volume": 5}, now=now)
    work_all(now)
    assert version_told(device) == version_told(other) == version_of({"volume": 5})


def test_a_layer_reaches_no_other_tenants_devices(
    device: Device, now: datetime
) -> None:
    DeviceFactory.create(tenant=TenantFactory.create())
    for_tenant(device.tenant, {"volume": 5}, now=now)
    work_all(now)
    assert [steps.device_id for steps in NextSteps.every_tenant.all()] == [device.pk]


def test_a_save_asks_for_the_round_before_it_takes_the_turn(
    device: Device, now: datetime
) -> None:
    """As the worker does; in the other order the two would wait for each other."""
    taken = []
    with (
        patch.object(
            recalculation, "ask", side_effect=lambda **_: taken.append("round")
        ),
        patch.object(effective, "in_turn", side_effect=lambda _: taken.append("turn")),
    ):
        for_device(device, {"volume": 5}, now=now)
    assert taken == ["round", "turn"]


def test_a_device_that_gets_a_tag_meanwhile_is_not_missed(
    device: Device, now: datetime
) -> None:
    """Whoever has the turn sees what was committed before it was theirs."""
    with patch.object(effective, "take_turn") as turn:
        for_tenant(device.tenant, {"volume": 5}, now=now)
        recalculation.work(now=now)
    assert turn.call_count == 2  # once before the devices are chosen


def test_a_retired_device_is_left_as_it_was(tenant: Tenant, now: datetime) -> None:
    DeviceFactory.create(tenant=tenant, status="retired", retired_at=now)
    for_tenant(tenant, {"volume": 5}, now=now)
    work_all(now)
    assert not NextSteps.every_tenant.exists()


def test_a_device_that_is_retired_waits_for_nothing(
    device: Device, now: datetime
) -> None:
    for_device(device, {"volume": 5}, now=now)
    with tenant_scope(device.tenant_id):
        registration.retire(device=device, now=now)
    assert told(device).configuration_waiting_since is None


def connect(device: Device, now: datetime) -> Any:
    """What the device is told when it connects; it comes with its next steps."""
    with tenant_scope(device.tenant_id):
        device = Device.objects.select_related("next_steps").get(pk=device.pk)
        return presence.connect(device=device, report=Report(), now=now)


class TestFirstConnect:
    @pytest.fixture(autouse=True)
    def nothing_known(self) -> None:
        connect_response.forget()

    def test_a_new_device_is_told_what_it_should_have(
        self, tenant: Tenant, now: datetime
    ) -> None:
        for_tenant(tenant, {"volume": 5}, now=now)
        work_all(now)
        with tenant_scope(tenant.pk):
            device = registration.register(box=Box(serial_number="SN-1"), now=now)
        steps = connect(device, now)
        assert steps["configuration_version"] == version_of({"volume": 5})
        assert steps["configuration_waiting"] is True
        assert version_told(device) == version_of({"volume": 5})

    def test_it_is_worked_out_once(
        self, tenant: Tenant, device: Device, now: datetime
    ) -> None:
        tag = TagFactory.create(tenant=tenant)
        for_tag(tag, {"volume": 5}, now=now)  # which the device does not wear
        assert connect(device, now)["configuration_version"] == NOTHING
        with patch.object(effective, "refresh") as refresh:
            assert connect(device, now)["configuration_version"] == NOTHING
        refresh.assert_not_called()

    def test_nobody_waits_for_a_turn_that_is_somebody_elses(
        self, tenant: Tenant, device: Device, now: datetime
    ) -> None:
        for_tenant(tenant, {"volume": 5}, now=now)
        with patch.object(effective, "in_turn_if_free", return_value=False):
            assert connect(device, now)["configuration_version"] is None
        assert connect(device, now)["configuration_version"] == version_of(
            {"volume": 5}
        )

    def test_who_fetches_it_waits_for_the_turn(
        self, device: Device, as_device: Callable[..., APIClient], now: datetime
    ) -> None:
        for_tenant(device.tenant, {"volume": 5}, now=now)
        with patch.object(effective, "in_turn_if_free", return_value=False):
            answer = as_device(device).get("/devices/me/configuration")
        assert answer.json()["configuration"] == {"volume": 5}

    def test_where_nobody_says_anything_nothing_is_worked_out(
        self, device: Device, now: datetime
    ) -> None:
        assert connect(device, now)["configuration_version"] is None
        assert not NextSteps.every_tenant.exists()

    def test_a_device_in_quarantine_is_told_nothing(
        self, tenant: Tenant, now: datetime
    ) -> None:
        for_tenant(tenant, {"volume": 5}, now=now)
        device = DeviceFactory.create(tenant=tenant, quarantined_at=now)
        assert connect(device, now)["configuration_version"] is None


def test_another_tag_is_another_configuration(device: Device, now: datetime) -> None:
    tag = TagFactory.create(tenant=device.tenant, name="lobby")
    for_tag(tag, {"volume": 5}, now=now)
    work_all(now)
    with tenant_scope(device.tenant_id):
        registration.update(device=device, tags=["lobby"], now=now)
        event = Event.objects.get(name="device.updated")
        subscribers.recalculate_after_tag_change(event_from(event, DeviceUpdated))
    assert version_told(device) == version_of({"volume": 5})


class TestRounds:
    """Batches of two, so that a handful of devices takes several."""

    @pytest.fixture(autouse=True)
    def small_batches(self) -> Any:
        with patch.object(recalculation, "BATCH", 2):
            yield

    @pytest.fixture
    def fleet(self, tenant: Tenant) -> list[Device]:
        made: list[Device] = DeviceFactory.create_batch(5, tenant=tenant)
        return sorted(made, key=lambda device: device.pk)

    def versions(self, fleet: list[Device]) -> list[str | None]:
        by_device = dict(
            NextSteps.every_tenant.values_list("device_id", "configuration_version")
        )
        return [by_device.get(device.pk) for device in fleet]

    def test_a_round_goes_through_all_devices(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        for_tenant(tenant, {"volume": 5}, now=now)
        assert work_all(now) == 3
        assert self.versions(fleet) == [version_of({"volume": 5})] * 5
        assert not Round.every_tenant.exists()

    def test_a_round_that_was_broken_off_goes_on_where_it_was(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        for_tenant(tenant, {"volume": 5}, now=now)
        recalculation.work(now=now)
        with (
            patch.object(effective, "_announce", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            recalculation.work(now=now)
        assert Round.every_tenant.get().done == 2
        assert work_all(now) == 2
        assert self.versions(fleet) == [version_of({"volume": 5})] * 5

    def test_a_change_meanwhile_reaches_the_devices_that_were_done(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        for_tenant(tenant, {"volume": 5}, now=now)
        recalculation.work(now=now)
        for_tenant(tenant, {"volume": 6}, now=now)
        assert Round.every_tenant.count() == 1
        work_all(now)
        assert self.versions(fleet) == [version_of({"volume": 6})] * 5

    def test_changes_that_do_not_end_hold_nobody_up(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        for volume in range(4):
            for_tenant(tenant, {"volume": volume}, now=now)
            recalculation.work(now=now)
        assert None not in self.versions(fleet)
        work_all(now)
        assert self.versions(fleet) == [version_of({"volume": 3})] * 5

    def test_a_tags_round_is_about_its_devices_only(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        tag = TagFactory.create(tenant=tenant)
        for device in fleet[:3]:
            wear(device, tag)
        for_tenant(tenant, {"volume": 4}, now=now)
        work_all(now)
        for_tag(tag, {"volume": 5}, now=now)
        assert Round.every_tenant.get().tag == tag
        assert work_all(now) == 2
        loud, quiet = version_of({"volume": 5}), version_of({"volume": 4})
        assert self.versions(fleet) == [loud] * 3 + [quiet] * 2

    def test_a_tenants_first_layer_tells_everybody_whomever_it_is_for(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        for_device(fleet[0], {"volume": 5}, now=now)
        work_all(now)
        assert self.versions(fleet) == [version_of({"volume": 5}), *[NOTHING] * 4]

    def test_tenants_take_turns(
        self, tenant: Tenant, fleet: list[Device], now: datetime
    ) -> None:
        other = TenantFactory.create()
        theirs = DeviceFactory.create(tenant=other)
        for_tenant(tenant, {"volume": 5}, now=now)
        for_tenant(other, {"volume": 6}, now=now)
        for second in range(1, 3):
            recalculation.work(now=now + timedelta(seconds=second))
        assert version_told(theirs) == version_of({"volume": 6})
