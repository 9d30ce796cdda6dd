"""What a rule would have done, told before it is switched on."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.metrics.tests.reporting import every_five_minutes, report
from devices.monitoring.conditions import Condition, OpeningHours
from devices.monitoring.models import MonitoringRule
from devices.monitoring.services.back_testing import Simulation, back_test
from devices.monitoring.tests.factories import RuleFactory, silence
from devices.registry.models import Device
from devices.registry.services import presence
from devices.registry.tests.factories import DeviceFactory
from tenants.context import tenant_scope
from tenants.models import Tenant

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALWAYS = OpeningHours(
    weekdays=(1, 2, 3, 4, 5, 6, 7), opens_at=None, closes_at=None, time_zone="UTC"
)


def fired(
    values: list[float],
    *,
    clear: float | None = None,
    lasting: timedelta = timedelta(),
    cool_down: timedelta = timedelta(),
    hours: OpeningHours = ALWAYS,
    no_data: str = "keep",
    times: list[int] | None = None,
) -> list[float]:
    """At which minutes a rule "above 90" fires; a value every five minutes."""
    minutes = times or [5 * number for number in range(len(values))]
    seen = [
        (NOON + minute * MINUTE, value)
        for minute, value in zip(minutes, values, strict=True)
    ]
    condition = Condition(
        operator="gt",
        threshold=90,
        clear_threshold=clear,
        lasting=lasting,
        severity="high",
    )
    simulation = Simulation(
        condition=condition,
        hours=hours,
        cool_down=cool_down,
        gap=15 * MINUTE,
        no_data=no_data,
    )
    return [(at - NOON) / MINUTE for at in simulation.firings(seen)]


def test_each_time_that_the_threshold_is_passed_counts_once() -> None:
    assert fired([10, 95, 96, 10, 95]) == [5, 20]


def test_within_the_clear_value_nothing_begins_anew() -> None:
    assert fired([95, 85, 95, 70, 95], clear=75) == [0, 20]


def test_it_has_to_last() -> None:
    assert fired([95, 95, 95, 10, 95], lasting=10 * MINUTE) == [10]


def test_the_cool_down_counts() -> None:
    assert fired([95, 10, 95, 95, 95], cool_down=15 * MINUTE) == [0, 20]


def test_a_break_in_the_samples_is_no_proof_that_it_lasted() -> None:
    assert fired([95, 95], lasting=10 * MINUTE, times=[0, 40]) == []


def test_no_data_counts_where_the_rule_says_so() -> None:
    assert fired([10, 10], no_data="open", times=[0, 40]) == [15]
    assert fired([95, 95], no_data="close", times=[0, 40]) == [0, 40]


def test_outside_the_opening_hours_nothing_fires() -> None:
    closed = OpeningHours(
        weekdays=(1,), opens_at=time(1), closes_at=time(2), time_zone="UTC"
    )
    assert fired([95, 95], hours=closed) == []


@pytest.mark.parametrize(
    ("local", "is_open"),
    [
        (datetime(2026, 3, 2, 23, tzinfo=UTC), True),  # a Monday
        (datetime(2026, 3, 3, 1, tzinfo=UTC), True),  # its night
        (datetime(2026, 3, 3, 3, tzinfo=UTC), False),
        (datetime(2026, 3, 3, 23, tzinfo=UTC), False),
    ],
)
def test_hours_may_end_in_the_night_that_follows(
    local: datetime, is_open: bool
) -> None:
    hours = OpeningHours(
        weekdays=(1,), opens_at=time(22), closes_at=time(2), time_zone="UTC"
    )
    assert hours.include(local) is is_open


def test_hours_are_those_of_their_time_zone() -> None:
    hours = OpeningHours(
        weekdays=(7,),
        opens_at=time(8),
        closes_at=time(12),
        time_zone="America/New_York",
    )
    assert hours.include(NOON + timedelta(hours=1))  # 8 o'clock there
    assert not hours.include(NOON)


@pytest.mark.django_db
def test_metrics_are_gone_through_device_by_device(tenant: Tenant) -> None:
    rule = RuleFactory.create(tenant=tenant, is_enabled=False)
    calm, busy = DeviceFactory.create_batch(2, tenant=tenant)
    stranger = DeviceFactory.create()
    for device, values in ((calm, [10, 20]), (busy, [95, 10, 95]), (stranger, [99])):
        report(device, *every_five_minutes(NOON, values), now=NOON + 30 * MINUTE)

    with tenant_scope(tenant.pk):
        told = back_test(rule, days=7, now=NOON + timedelta(hours=1))

    assert (told.alerts, told.devices, told.complete) == (2, 1, True)
    assert told.worst == [(busy.pk, busy.name, 2, NOON)]
    assert told.by_day[NOON.date()] == 2
    assert len(told.by_day) == 8
    assert not rule.alerts.exists(), "nothing was opened"


@pytest.mark.django_db
def test_pauses_are_known_from_the_events(tenant: Tenant) -> None:
    rule: MonitoringRule = silence(tenant=tenant, threshold=10)
    device = DeviceFactory.create(tenant=tenant)
    for minute in (0, 5, 20, 40, 41):  # silent for 5, 15 and 20 minutes
        with tenant_scope(tenant.pk):
            known = Device.objects.get(pk=device.pk)
            presence.heard(device=known, now=NOON + minute * MINUTE)
        presence.sweep(now=NOON + (minute + 4) * MINUTE, threshold=3 * MINUTE)

    with tenant_scope(tenant.pk):
        told = back_test(rule, days=1, now=NOON + 60 * MINUTE)

    assert told.alerts == 3  # and it is silent since


@pytest.mark.django_db
def test_ends_of_certificates_are_known(tenant: Tenant, device: Device) -> None:
    rule = RuleFactory.create(
        tenant=tenant, kind="certificate", measure="", operator="le", threshold=30
    )
    CertificateManagementService().issue_certificate(
        device=device,
        csr_pem=request_for(ec_key()),
        now=NOON - timedelta(days=337),
    )

    with tenant_scope(tenant.pk):
        assert back_test(rule, days=7, now=NOON).alerts == 1
        assert back_test(rule, days=1, now=NOON).alerts == 0


@pytest.mark.django_db
def test_it_is_asked_over_http(
    tenant: Tenant, device: Device, member: Callable[..., APIClient]
) -> None:
    rule = RuleFactory.create(tenant=tenant, is_enabled=False)
    now = timezone.now()
    report(device, *every_five_minutes(now - 30 * MINUTE, [95, 10]), now=now)
    client, where = member(), f"/monitoring/rules/{rule.pk}/back-test"

    told = client.post(where, {"days": 2}).json()

    assert (told["alerts"], told["devices"], told["days"]) == (1, 1, 2)
    assert told["worst"][0]["device_id"] == str(device.pk)
    assert client.post(where, {"days": 31}).status_code == 400
