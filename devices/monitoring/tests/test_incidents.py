"""Tests of incidents, which cover many devices that fall silent at the same time."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from devices.monitoring.models import Alert, IncidentDevice
from devices.monitoring.services.evaluation import EvaluationResult
from devices.monitoring.tests.evaluating import evaluate
from devices.monitoring.tests.factories import silence_rule
from devices.registry.models import Device
from devices.registry.services import presence
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from events.services import delivery
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
THRESHOLD = timedelta(minutes=5)


def create_devices(tenant: Tenant, count: int, **fields: Any) -> list[Device]:
    return DeviceFactory.create_batch(count, tenant=tenant, **fields)


def set_seen(devices: list[Device], now: datetime) -> None:
    ids = [device.pk for device in devices]
    Device.every_tenant.filter(pk__in=ids).update(last_seen=now, status="online")


def test_many_devices_that_fall_silent_together_open_one_incident(
    tenant: Tenant, now: datetime
) -> None:
    silence_rule(tenant=tenant)
    silent = create_devices(tenant, 12, status="offline", last_seen=now - 6 * MINUTE)

    evaluate(tenant, now)

    incident = Alert.every_tenant.get()
    assert (incident.kind, incident.devices) == ("fleet_silence", 12)
    assert incident.device is None
    assert incident.title == "12 devices fell silent at the same time"
    assert IncidentDevice.every_tenant.count() == len(silent)
    assert Event.every_tenant.named("alert.opened").count() == 1
    assert evaluate(tenant, now + MINUTE) == EvaluationResult()


def test_a_few_silent_devices_get_an_alert_each(tenant: Tenant, now: datetime) -> None:
    silence_rule(tenant=tenant)
    create_devices(tenant, 3, status="offline", last_seen=now - 6 * MINUTE)
    create_devices(tenant, 3, status="online", last_seen=now)

    assert evaluate(tenant, now) == EvaluationResult(opened=3)


def test_a_small_share_of_the_devices_gets_an_alert_each(tenant: Tenant, now: datetime) -> None:
    silence_rule(tenant=tenant)
    create_devices(tenant, 12, status="offline", last_seen=now - 6 * MINUTE)
    create_devices(tenant, 40, status="online", last_seen=now)

    assert evaluate(tenant, now) == EvaluationResult(opened=12)


def test_a_device_that_falls_silent_soon_after_joins_the_incident(
    tenant: Tenant, now: datetime
) -> None:
    silence_rule(tenant=tenant)
    create_devices(tenant, 12, status="offline", last_seen=now - 6 * MINUTE)
    evaluate(tenant, now)
    create_devices(tenant, 1, status="offline", last_seen=now - MINUTE)

    evaluate(tenant, now + 4 * MINUTE)

    incident = Alert.every_tenant.get()
    assert incident.devices == 13
    assert incident.title == "13 devices fell silent at the same time"


def test_an_incident_closes_when_nearly_all_devices_are_back(tenant: Tenant, now: datetime) -> None:
    silence_rule(tenant=tenant)
    devices = create_devices(tenant, 20, status="offline", last_seen=now - 6 * MINUTE)
    evaluate(tenant, now)
    set_seen(devices[:10], now + MINUTE)
    assert evaluate(tenant, now + MINUTE) == EvaluationResult()
    set_seen(devices[:19], now + 2 * MINUTE)

    assert evaluate(tenant, now + 2 * MINUTE) == EvaluationResult(opened=1)

    incident = Alert.every_tenant.get(kind="fleet_silence")
    assert (incident.status, incident.closing) == ("closed", "cause_gone")
    remaining = Alert.every_tenant.get(kind="silence")
    assert remaining.device == devices[19]


def test_devices_that_fall_silent_within_a_minute_are_one_incident(
    tenant: Tenant, now: datetime
) -> None:
    """One incident includes devices that fall silent at different times within a minute."""
    silence_rule(tenant=tenant)
    for number in range(60):
        create_devices(
            tenant, 1, status="online", last_seen=now - 4.7 * MINUTE - timedelta(seconds=number)
        )

    evaluate(tenant, now)
    evaluate(tenant, now + MINUTE)

    assert Alert.every_tenant.get().devices == 60


def test_a_device_that_returns_and_falls_silent_again_counts_as_silent(
    tenant: Tenant, now: datetime
) -> None:
    silence_rule(tenant=tenant)
    devices = create_devices(tenant, 12, status="offline", last_seen=now - 6 * MINUTE)
    evaluate(tenant, now)
    set_seen(devices[:1], now + MINUTE)
    evaluate(tenant, now + MINUTE)
    member = IncidentDevice.every_tenant.get(device=devices[0])
    assert member.returned_at is not None

    evaluate(tenant, now + 7 * MINUTE)

    member.refresh_from_db()
    assert member.returned_at is None
    assert Alert.every_tenant.get().devices == 12


def test_a_second_outage_closes_the_first_incident_and_opens_another(
    tenant: Tenant, now: datetime
) -> None:
    silence_rule(tenant=tenant)
    devices = create_devices(tenant, 40, status="offline", last_seen=now - 6 * MINUTE)
    evaluate(tenant, now)
    later = now + timedelta(hours=3)
    set_seen(devices[:30], later)  # the other ten stay silent
    evaluate(tenant, later)

    evaluate(tenant, later + 6 * MINUTE)

    first, second = Alert.every_tenant.filter(kind="fleet_silence").order_by("opened_at")
    assert (first.status, second.status, second.devices) == ("closed", "open", 30)


def test_an_incident_closes_after_hours_and_silent_devices_get_an_alert_each(
    tenant: Tenant, now: datetime
) -> None:
    silence_rule(tenant=tenant)
    create_devices(tenant, 12, status="offline", last_seen=now - 6 * MINUTE)
    evaluate(tenant, now)

    assert evaluate(tenant, now + timedelta(hours=7)) == EvaluationResult(opened=12)


def test_devices_silent_for_months_are_not_an_incident(tenant: Tenant, now: datetime) -> None:
    silence_rule(tenant=tenant)
    create_devices(tenant, 12, status="offline", last_seen=now - timedelta(days=90))

    assert evaluate(tenant, now) == EvaluationResult(opened=12)


def test_an_incident_is_closed_even_if_the_tenant_has_no_rule(
    tenant: Tenant, now: datetime
) -> None:
    devices = create_devices(tenant, 12, status="online", last_seen=now - 6 * MINUTE)
    presence.sweep(now=now, threshold=THRESHOLD)
    delivery.deliver(now=now)
    set_seen(devices, now + MINUTE)

    evaluate(tenant, now + MINUTE)

    assert Alert.every_tenant.get().status == "closed"


def test_the_presence_sweep_opens_an_incident_without_a_rule(tenant: Tenant, now: datetime) -> None:
    create_devices(tenant, 12, status="online", last_seen=now - 6 * MINUTE)

    presence.sweep(now=now, threshold=THRESHOLD)
    delivery.deliver(now=now)

    incident = Alert.every_tenant.get()
    assert (incident.kind, incident.devices) == ("fleet_silence", 12)


def test_sweep_evaluation_and_delivery_in_any_order_open_one_incident(
    tenant: Tenant, now: datetime
) -> None:
    silence_rule(tenant=tenant)
    create_devices(tenant, 12, status="online", last_seen=now - 6 * MINUTE)

    evaluate(tenant, now)
    presence.sweep(now=now, threshold=THRESHOLD)
    evaluate(tenant, now)
    delivery.deliver(now=now)
    delivery.deliver(now=now)

    assert Alert.every_tenant.get().devices == 12
