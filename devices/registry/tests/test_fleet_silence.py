"""Very many devices fall silent at once: one alarm for the tenant beside their own."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from devices.registry.models import Device
from devices.registry.services import presence
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from tenants.models import Tenant
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
THRESHOLD = timedelta(minutes=5)


def fleet(tenant: Tenant, now: datetime, *, silent: int, talking: int) -> None:
    for count, seen in ((silent, now - timedelta(hours=1)), (talking, now)):
        DeviceFactory.create_batch(
            count, tenant=tenant, status=Device.Status.ONLINE, last_seen=seen
        )


def sweep(now: datetime) -> list[Event]:
    presence.sweep(now=now, threshold=THRESHOLD)
    return list(Event.every_tenant.named("fleet.silence").order_by("id"))


def test_half_of_a_tenant_at_once_is_one_event_beside_the_devices_own(
    tenant: Tenant, now: datetime
) -> None:
    fleet(tenant, now, silent=12, talking=12)

    [event] = sweep(now)

    assert event.tenant == tenant
    assert event.data == {"cause": "tenant", "devices": 12, "online_before": 24}
    assert Event.every_tenant.named("device.status_changed").count() == 12


@pytest.mark.parametrize(("silent", "talking"), [(9, 0), (12, 13), (0, 5)])
def test_a_few_devices_or_a_smaller_share_are_no_alarm(
    tenant: Tenant, now: datetime, silent: int, talking: int
) -> None:
    fleet(tenant, now, silent=silent, talking=talking)

    assert sweep(now) == []


def test_only_the_tenant_that_fell_silent_hears_of_it(
    tenant: Tenant, now: datetime
) -> None:
    fleet(tenant, now, silent=10, talking=0)
    fleet(TenantFactory.create(), now, silent=1, talking=50)

    assert [event.tenant for event in sweep(now)] == [tenant]


def test_when_nobody_at_all_connects_the_fault_is_named_as_ours(
    tenant: Tenant, now: datetime
) -> None:
    fleet(tenant, now, silent=20, talking=0)
    fleet(TenantFactory.create(), now, silent=30, talking=0)

    assert {event.data["cause"] for event in sweep(now)} == {"ingest"}


def test_a_fleet_that_goes_silent_bit_by_bit_is_announced_once(
    tenant: Tenant, now: datetime
) -> None:
    fleet(tenant, now, silent=20, talking=0)
    sweep(now)
    fleet(tenant, now, silent=20, talking=0)

    assert len(sweep(now + timedelta(minutes=1))) == 1
    fleet(tenant, now, silent=20, talking=0)
    assert len(sweep(now + timedelta(minutes=16))) == 2


def test_more_than_one_batch_is_still_one_alarm(
    tenant: Tenant, now: datetime, monkeypatch: Any
) -> None:
    monkeypatch.setattr(presence, "SWEEP_BATCH", 4)
    fleet(tenant, now, silent=13, talking=0)

    [event] = sweep(now)

    assert event.data["devices"] == 13


def test_a_second_sweep_beside_the_first_announces_nothing_twice(
    tenant: Tenant, now: datetime
) -> None:
    fleet(tenant, now, silent=20, talking=0)

    assert len(sweep(now)) == 1
    assert len(sweep(now)) == 1


def test_a_sweep_that_was_killed_before_its_end_is_made_up_for_by_the_next(
    tenant: Tenant, now: datetime, monkeypatch: Any
) -> None:
    fleet(tenant, now, silent=12, talking=0)
    with monkeypatch.context() as patch:
        patch.setattr(presence, "SWEEP_BATCH", 12)  # all of them in one full batch
        patch.setattr(presence, "fleet_silences", killed)
        with pytest.raises(KeyboardInterrupt):
            presence.sweep(now=now, threshold=THRESHOLD)

    [event] = sweep(now + timedelta(minutes=1))

    assert event.data["devices"] == 12


def killed(**kwargs: Any) -> Any:
    raise KeyboardInterrupt
