"""Ten thousand devices fall silent at once: one incident with a list."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from devices.monitoring.models import Alert, IncidentDevice
from devices.monitoring.services import evaluation
from devices.monitoring.services.evaluation import EvaluationResult
from devices.monitoring.tests.factories import silence
from devices.registry.models import Device
from devices.registry.services import presence
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from events.services import delivery
from tenants.context import tenant_scope
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
THRESHOLD = timedelta(minutes=5)


def passed(tenant: Tenant, now: datetime) -> EvaluationResult:
    with tenant_scope(tenant.pk):
        return evaluation.evaluate_all(now=now)


def fleet(tenant: Tenant, count: int, **fields: Any) -> list[Device]:
    made: list[Device] = DeviceFactory.create_batch(count, tenant=tenant, **fields)
    return made


def heard_of(devices: list[Device], now: datetime) -> None:
    ids = [device.pk for device in devices]
    Device.every_tenant.filter(pk__in=ids).update(last_seen=now, status="online")


def test_many_that_fall_silent_together_make_one_incident(
    tenant: Tenant, now: datetime
) -> None:
    silence(tenant=tenant)
    silent = fleet(tenant, 12, status="offline", last_seen=now - 6 * MINUTE)

    passed(tenant, now)

    incident = Alert.every_tenant.get()
    assert (incident.kind, incident.devices) == ("fleet_silence", 12)
    assert incident.device is None
    assert incident.title == "12 devices fell silent together"
    assert IncidentDevice.every_tenant.count() == len(silent)
    assert Event.every_tenant.named("alert.opened").count() == 1
    assert passed(tenant, now + MINUTE) == EvaluationResult()


def test_a_few_have_an_alert_each(tenant: Tenant, now: datetime) -> None:
    silence(tenant=tenant)
    fleet(tenant, 3, status="offline", last_seen=now - 6 * MINUTE)
    fleet(tenant, 3, status="online", last_seen=now)

    assert passed(tenant, now) == EvaluationResult(opened=3)


def test_a_small_share_of_a_fleet_has_an_alert_each(
    tenant: Tenant, now: datetime
) -> None:
    silence(tenant=tenant)
    fleet(tenant, 12, status="offline", last_seen=now - 6 * MINUTE)
    fleet(tenant, 40, status="online", last_seen=now)

    assert passed(tenant, now) == EvaluationResult(opened=12)


def test_who_falls_silent_a_little_later_joins_the_incident(
    tenant: Tenant, now: datetime
) -> None:
    silence(tenant=tenant)
    fleet(tenant, 12, status="offline", last_seen=now - 6 * MINUTE)
    passed(tenant, now)
    fleet(tenant, 1, status="offline", last_seen=now - MINUTE)

    passed(tenant, now + 4 * MINUTE)

    incident = Alert.every_tenant.get()
    assert (incident.devices, incident.title) == (13, "13 devices fell silent together")


def test_the_incident_closes_when_nearly_all_are_back_and_the_rest_stand_alone(
    tenant: Tenant, now: datetime
) -> None:
    silence(tenant=tenant)
    devices = fleet(tenant, 20, status="offline", last_seen=now - 6 * MINUTE)
    passed(tenant, now)
    heard_of(devices[:10], now + MINUTE)
    assert passed(tenant, now + MINUTE) == EvaluationResult()
    heard_of(devices[:19], now + 2 * MINUTE)

    assert passed(tenant, now + 2 * MINUTE) == EvaluationResult(opened=1)

    incident = Alert.every_tenant.get(kind="fleet_silence")
    assert (incident.status, incident.closing) == ("closed", "cause_gone")
    alone = Alert.every_tenant.get(kind="silence")
    assert alone.device == devices[19]


def test_a_fleet_that_falls_silent_in_the_course_of_a_minute_is_one_incident(
    tenant: Tenant, now: datetime
) -> None:
    """Each device connects at a second of its own; the network is gone for all at once."""
    silence(tenant=tenant)
    for number in range(60):
        fleet(
            *(tenant, 1),
            status="online",
            last_seen=now - 4.7 * MINUTE - timedelta(seconds=number),
        )

    passed(tenant, now)
    passed(tenant, now + MINUTE)

    assert Alert.every_tenant.get().devices == 60


def test_who_is_back_and_falls_silent_again_is_away_again(
    tenant: Tenant, now: datetime
) -> None:
    silence(tenant=tenant)
    devices = fleet(tenant, 12, status="offline", last_seen=now - 6 * MINUTE)
    passed(tenant, now)
    heard_of(devices[:1], now + MINUTE)
    passed(tenant, now + MINUTE)
    member = IncidentDevice.every_tenant.get(device=devices[0])
    assert member.returned_at is not None

    passed(tenant, now + 7 * MINUTE)

    member.refresh_from_db()
    assert member.returned_at is None
    assert Alert.every_tenant.get().devices == 12


def test_another_outage_is_another_incident_though_the_first_never_healed(
    tenant: Tenant, now: datetime
) -> None:
    silence(tenant=tenant)
    devices = fleet(tenant, 40, status="offline", last_seen=now - 6 * MINUTE)
    passed(tenant, now)
    later = now + timedelta(hours=3)
    heard_of(devices[:30], later)  # ten of them are broken for good
    passed(tenant, later)

    passed(tenant, later + 6 * MINUTE)

    first, second = Alert.every_tenant.filter(kind="fleet_silence").order_by(
        "opened_at"
    )
    assert (first.status, second.status, second.devices) == ("closed", "open", 30)


def test_an_incident_ends_after_hours_and_the_rest_stand_alone(
    tenant: Tenant, now: datetime
) -> None:
    silence(tenant=tenant)
    fleet(tenant, 12, status="offline", last_seen=now - 6 * MINUTE)
    passed(tenant, now)

    assert passed(tenant, now + timedelta(hours=7)) == EvaluationResult(opened=12)


def test_boxes_that_are_gone_for_months_are_no_incident(
    tenant: Tenant, now: datetime
) -> None:
    silence(tenant=tenant)
    fleet(tenant, 12, status="offline", last_seen=now - timedelta(days=90))

    assert passed(tenant, now) == EvaluationResult(opened=12)


def test_an_incident_is_settled_also_where_no_rule_is_left(
    tenant: Tenant, now: datetime
) -> None:
    devices = fleet(tenant, 12, status="online", last_seen=now - 6 * MINUTE)
    presence.sweep(now=now, threshold=THRESHOLD)
    delivery.deliver(now=now)
    heard_of(devices, now + MINUTE)

    passed(tenant, now + MINUTE)

    assert Alert.every_tenant.get().status == "closed"


def test_the_sweeps_announcement_opens_it_also_without_a_rule(
    tenant: Tenant, now: datetime
) -> None:
    fleet(tenant, 12, status="online", last_seen=now - 6 * MINUTE)

    presence.sweep(now=now, threshold=THRESHOLD)
    delivery.deliver(now=now)

    incident = Alert.every_tenant.get()
    assert (incident.kind, incident.devices) == ("fleet_silence", 12)


def test_sweep_pass_and_delivery_in_any_order_make_one(
    tenant: Tenant, now: datetime
) -> None:
    silence(tenant=tenant)
    fleet(tenant, 12, status="online", last_seen=now - 6 * MINUTE)

    passed(tenant, now)
    presence.sweep(now=now, threshold=THRESHOLD)
    passed(tenant, now)
    delivery.deliver(now=now)
    delivery.deliver(now=now)

    assert Alert.every_tenant.get().devices == 12
