"""Who is online and has not for long what it should have is announced, once."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from devices.configurations.documents import version_of
from devices.configurations.models import ConfigurationDrift
from devices.configurations.services import drift, reports
from devices.configurations.services.drift import Watched
from devices.configurations.tests.documents import for_device
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = pytest.mark.django_db

LIMIT = timedelta(minutes=60)
HALF = LIMIT / 2


def watch(now: datetime) -> Watched:
    return drift.watch(now=now, limit=LIMIT)


@pytest.fixture
def drifting(tenant: Tenant, now: datetime) -> Device:
    """Online; it was told to be louder at `now` and says nothing of it."""
    device: Device = DeviceFactory.create(tenant=tenant, status="online", last_seen=now)
    for_device(device, {"volume": 50}, now=now)
    return device


def announced(now: datetime) -> None:
    """An hour goes by."""
    watch(now + HALF)
    watch(now + LIMIT)


def drifts() -> list[Any]:
    events = Event.every_tenant.filter(name__startswith="configuration.").order_by("id")
    return [event.name for event in events if event.name != "configuration.saved"]


def test_it_is_announced_when_the_time_is_up(drifting: Device, now: datetime) -> None:
    assert watch(now + HALF - timedelta(seconds=1)).noticed == 0
    assert watch(now + HALF).noticed == 1
    assert watch(now + LIMIT - timedelta(seconds=1)).announced == 0
    assert watch(now + LIMIT).announced == 1
    event = Event.every_tenant.get(name="configuration.drifted")
    assert event.device_id == drifting.pk
    assert event.data["version"] == version_of({"volume": 50})
    assert event.data["since"] == now.isoformat()


def test_it_is_announced_once(drifting: Device, now: datetime) -> None:
    announced(now)
    announced(now + LIMIT)
    assert drifts() == ["configuration.drifted"]


def test_who_reports_in_time_is_not_announced(drifting: Device, now: datetime) -> None:
    watch(now + HALF)
    with tenant_scope(drifting.tenant_id):
        reports.report(
            device=drifting,
            version=version_of({"volume": 50}),
            outcome="applied",
            now=now + HALF,
        )
    watch(now + LIMIT)
    assert drifts() == ["configuration.applied"]


def test_its_end_is_announced_as_well(drifting: Device, now: datetime) -> None:
    announced(now)
    with tenant_scope(drifting.tenant_id):
        reports.report(
            device=drifting,
            version=version_of({"volume": 50}),
            outcome="applied",
            now=now + LIMIT,
        )
    assert watch(now + LIMIT).settled == 1
    assert drifts() == [
        "configuration.drifted",
        "configuration.applied",
        "configuration.converged",
    ]


def test_offline_is_not_drifted(tenant: Tenant, device: Device, now: datetime) -> None:
    for_device(device, {"volume": 50}, now=now)
    for hours in range(48):
        announced(now + timedelta(hours=hours))
    assert drifts() == []


def test_who_comes_back_gets_time_to_fetch_it(drifting: Device, now: datetime) -> None:
    watch(now + HALF)
    Device.every_tenant.update(status="offline")
    watch(now + HALF + timedelta(minutes=1))
    Device.every_tenant.update(status="online")
    back = now + timedelta(days=1)
    assert watch(back) == Watched(noticed=1, announced=0, settled=0)
    assert watch(back + HALF).announced == 1


def test_one_that_goes_away_after_it_was_announced_stays_so(
    drifting: Device, now: datetime
) -> None:
    announced(now)
    Device.every_tenant.update(status="offline")
    watch(now + LIMIT)
    assert ConfigurationDrift.every_tenant.announced().exists()


def test_a_retired_device_drifts_no_more(drifting: Device, now: datetime) -> None:
    announced(now)
    Device.every_tenant.update(status="retired", retired_at=now)
    assert watch(now + LIMIT).settled == 1


def test_one_that_comes_into_quarantine_in_between_is_not_announced(
    drifting: Device, now: datetime
) -> None:
    watch(now + HALF)
    Device.every_tenant.update(quarantined_at=now)
    watch(now + LIMIT)
    assert drifts() == []


def test_another_change_does_not_end_a_drift(drifting: Device, now: datetime) -> None:
    announced(now)
    for_device(drifting, {"volume": 5}, now=now + LIMIT)
    assert watch(now + LIMIT) == Watched(noticed=0, announced=0, settled=0)
    with tenant_scope(drifting.tenant_id):
        assert drift.announced().get().since == now


def test_a_device_in_quarantine_cannot_fetch_anything(
    drifting: Device, now: datetime
) -> None:
    Device.every_tenant.update(quarantined_at=now)
    announced(now)
    assert drifts() == []
