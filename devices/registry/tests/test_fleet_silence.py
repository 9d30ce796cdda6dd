"""Tests of the event for a large share of a tenant's devices that goes offline at once."""

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


def create_fleet(tenant: Tenant, now: datetime, *, silent: int, connected: int) -> None:
    for count, last_seen in ((silent, now - timedelta(hours=1)), (connected, now)):
        DeviceFactory.create_batch(
            count, tenant=tenant, status=Device.Status.ONLINE, last_seen=last_seen
        )


def sweep(now: datetime) -> list[Event]:
    presence.sweep(now=now, threshold=THRESHOLD)
    return list(Event.every_tenant.named("fleet.silence").order_by("id"))


def test_half_of_a_tenants_devices_are_one_event_in_addition_to_their_own(
    tenant: Tenant, now: datetime
) -> None:
    create_fleet(tenant, now, silent=12, connected=12)

    [event] = sweep(now)

    assert event.tenant == tenant
    assert event.data == {"cause": "tenant", "devices": 12, "online_before": 24}
    assert Event.every_tenant.named("device.status_changed").count() == 12


@pytest.mark.parametrize(("silent", "connected"), [(9, 0), (12, 13), (0, 5)])
def test_a_small_number_or_share_of_devices_is_not_reported(
    tenant: Tenant, now: datetime, silent: int, connected: int
) -> None:
    create_fleet(tenant, now, silent=silent, connected=connected)

    assert sweep(now) == []


def test_only_the_silent_tenant_gets_an_event(tenant: Tenant, now: datetime) -> None:
    create_fleet(tenant, now, silent=10, connected=0)
    create_fleet(TenantFactory.create(), now, silent=1, connected=50)

    assert [event.tenant for event in sweep(now)] == [tenant]


def test_the_cause_is_ingest_if_no_device_of_any_tenant_is_online(
    tenant: Tenant, now: datetime
) -> None:
    create_fleet(tenant, now, silent=20, connected=0)
    create_fleet(TenantFactory.create(), now, silent=30, connected=0)

    assert {event.data["cause"] for event in sweep(now)} == {"ingest"}


def test_a_fleet_that_goes_silent_in_steps_is_reported_once_in_a_quarter_hour(
    tenant: Tenant, now: datetime
) -> None:
    create_fleet(tenant, now, silent=20, connected=0)
    sweep(now)
    create_fleet(tenant, now, silent=20, connected=0)

    assert len(sweep(now + timedelta(minutes=1))) == 1
    create_fleet(tenant, now, silent=20, connected=0)
    assert len(sweep(now + timedelta(minutes=16))) == 2


def test_several_slices_are_one_event(tenant: Tenant, now: datetime, monkeypatch: Any) -> None:
    monkeypatch.setattr(presence, "SWEEP_SLICE", 4)
    create_fleet(tenant, now, silent=13, connected=0)

    [event] = sweep(now)

    assert event.data["devices"] == 13


def test_a_second_sweep_does_not_repeat_the_event(tenant: Tenant, now: datetime) -> None:
    create_fleet(tenant, now, silent=20, connected=0)

    assert len(sweep(now)) == 1
    assert len(sweep(now)) == 1


def test_the_next_sweep_reports_what_a_killed_sweep_did_not(
    tenant: Tenant, now: datetime, monkeypatch: Any
) -> None:
    create_fleet(tenant, now, silent=12, connected=0)
    with monkeypatch.context() as patch:
        patch.setattr(presence, "fleet_silences", interrupt)
        with pytest.raises(KeyboardInterrupt):
            presence.sweep(now=now, threshold=THRESHOLD)

    [event] = sweep(now + timedelta(minutes=1))

    assert event.data["devices"] == 12


def interrupt(**kwargs: Any) -> Any:
    raise KeyboardInterrupt
