"""Detection of devices that do not apply their desired configuration."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from devices.configurations.documents import version_of
from devices.configurations.models import ConfigurationDrift
from devices.configurations.services import drift, reports
from devices.configurations.services.drift import DriftCounts
from devices.configurations.tests.documents import save_for_device
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = pytest.mark.django_db

LIMIT = timedelta(minutes=60)
HALF = LIMIT / 2


def detect(now: datetime) -> DriftCounts:
    return drift.detect(now=now, limit=LIMIT)


@pytest.fixture
def drifting(tenant: Tenant, now: datetime) -> Device:
    """An online device that was assigned a new volume at `now` and has not reported it."""
    device: Device = DeviceFactory.create(tenant=tenant, status="online", last_seen=now)
    save_for_device(device, {"volume": 50}, now=now)
    return device


def run_until_announced(now: datetime) -> None:
    """Run the detection at half of the limit and at the limit."""
    detect(now + HALF)
    detect(now + LIMIT)


def event_names() -> list[Any]:
    events = Event.every_tenant.filter(name__startswith="configuration.").order_by("id")
    return [event.name for event in events if event.name != "configuration.saved"]


def test_a_drift_is_announced_at_the_limit(drifting: Device, now: datetime) -> None:
    assert detect(now + HALF - timedelta(seconds=1)).noticed == 0
    assert detect(now + HALF).noticed == 1
    assert detect(now + LIMIT - timedelta(seconds=1)).announced == 0
    assert detect(now + LIMIT).announced == 1
    event = Event.every_tenant.get(name="configuration.drifted")
    assert event.device_id == drifting.pk
    assert event.data["version"] == version_of({"volume": 50})
    assert event.data["since"] == now.isoformat()


def test_a_drift_is_announced_once(drifting: Device, now: datetime) -> None:
    run_until_announced(now)
    run_until_announced(now + LIMIT)
    assert event_names() == ["configuration.drifted"]


def test_a_device_that_reports_before_the_limit_is_not_announced(
    drifting: Device, now: datetime
) -> None:
    detect(now + HALF)
    with tenant_scope(drifting.tenant_id):
        reports.report(
            device=drifting, version=version_of({"volume": 50}), outcome="applied", now=now + HALF
        )
    detect(now + LIMIT)
    assert event_names() == ["configuration.applied"]


def test_the_end_of_a_drift_is_announced(drifting: Device, now: datetime) -> None:
    run_until_announced(now)
    with tenant_scope(drifting.tenant_id):
        reports.report(
            device=drifting, version=version_of({"volume": 50}), outcome="applied", now=now + LIMIT
        )
    assert detect(now + LIMIT).ended == 1
    assert event_names() == [
        "configuration.drifted",
        "configuration.applied",
        "configuration.converged",
    ]


def test_an_offline_device_does_not_drift(tenant: Tenant, device: Device, now: datetime) -> None:
    save_for_device(device, {"volume": 50}, now=now)
    for hours in range(48):
        run_until_announced(now + timedelta(hours=hours))
    assert event_names() == []


def test_the_time_starts_again_when_a_device_comes_back_online(
    drifting: Device, now: datetime
) -> None:
    detect(now + HALF)
    Device.every_tenant.update(status="offline")
    detect(now + HALF + timedelta(minutes=1))
    Device.every_tenant.update(status="online")
    returned_at = now + timedelta(days=1)
    assert detect(returned_at) == DriftCounts(noticed=1, announced=0, ended=0)
    assert detect(returned_at + HALF).announced == 1


def test_an_announced_drift_stays_while_the_device_is_offline(
    drifting: Device, now: datetime
) -> None:
    run_until_announced(now)
    Device.every_tenant.update(status="offline")
    detect(now + LIMIT)
    assert ConfigurationDrift.every_tenant.announced().exists()


def test_retirement_ends_a_drift(drifting: Device, now: datetime) -> None:
    run_until_announced(now)
    Device.every_tenant.update(status="retired", retired_at=now)
    assert detect(now + LIMIT).ended == 1


def test_a_device_quarantined_before_the_limit_is_not_announced(
    drifting: Device, now: datetime
) -> None:
    detect(now + HALF)
    Device.every_tenant.update(quarantined_at=now)
    detect(now + LIMIT)
    assert event_names() == []


def test_another_change_does_not_end_a_drift(drifting: Device, now: datetime) -> None:
    run_until_announced(now)
    save_for_device(drifting, {"volume": 5}, now=now + LIMIT)
    assert detect(now + LIMIT) == DriftCounts(noticed=0, announced=0, ended=0)
    with tenant_scope(drifting.tenant_id):
        assert drift.announced_drifts().get().since == now


def test_a_quarantined_device_does_not_drift(drifting: Device, now: datetime) -> None:
    Device.every_tenant.update(quarantined_at=now)
    run_until_announced(now)
    assert event_names() == []
