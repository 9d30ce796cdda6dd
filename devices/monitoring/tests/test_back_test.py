"""Back-tests of rules, and the simulation of a device's samples."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from core.weekly_times import WeeklyHours, WeeklyTime
from devices.metrics.tests.reporting import every_five_minutes, report
from devices.monitoring.conditions import Condition
from devices.monitoring.services.back_testing import Simulation, back_test
from devices.monitoring.tests.factories import RuleFactory, silence_rule
from devices.registry.models import Device
from devices.registry.services import presence
from devices.registry.tests.factories import DeviceFactory
from tenants.context import tenant_scope
from tenants.models import Tenant

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def hours_on(
    *weekdays: int, start: int | None = None, end: int | None = None, zone: str = "UTC"
) -> WeeklyHours:
    """Return hours from one full hour to another on ISO weekdays."""
    opens, closes = (None if hour is None else time(hour) for hour in (start, end))
    return WeeklyHours((WeeklyTime.from_iso_weekdays(weekdays, opens, closes),), zone)


ALWAYS = hours_on(1, 2, 3, 4, 5, 6, 7)


def fired_minutes(
    values: list[float],
    *,
    clear: float | None = None,
    duration: timedelta = timedelta(),
    reopening_period: timedelta = timedelta(),
    hours: WeeklyHours = ALWAYS,
    no_data: str = "keep",
    times: list[int] | None = None,
) -> list[float]:
    """Return the minutes at which a rule "above 90" opens alerts.

    The values are five minutes apart, unless `times` contains the minute of each value.
    """
    minutes = times or [5 * number for number in range(len(values))]
    samples = [
        (NOON + minute * MINUTE, value) for minute, value in zip(minutes, values, strict=True)
    ]
    condition = Condition(
        operator="gt", threshold=90, clear_threshold=clear, duration=duration, severity="high"
    )
    simulation = Simulation(
        condition=condition,
        hours=hours,
        reopening_period=reopening_period,
        gap=15 * MINUTE,
        no_data=no_data,
    )
    return [(at - NOON) / MINUTE for at in simulation.firings(samples)]


def test_each_crossing_of_the_threshold_counts_once() -> None:
    assert fired_minutes([10, 95, 96, 10, 95]) == [5, 20]


def test_no_alert_opens_again_before_the_clear_threshold_is_reached() -> None:
    assert fired_minutes([95, 85, 95, 70, 95], clear=75) == [0, 20]


def test_the_violation_must_last_for_the_duration() -> None:
    assert fired_minutes([95, 95, 95, 10, 95], duration=10 * MINUTE) == [10]


def test_an_alert_that_is_reopened_counts_once() -> None:
    values: list[float] = [95, 10, 95, 10, 10, 10, 10, 95]
    assert fired_minutes(values, reopening_period=15 * MINUTE) == [0, 35]


def test_a_gap_in_the_samples_restarts_the_duration() -> None:
    assert fired_minutes([95, 95], duration=10 * MINUTE, times=[0, 40]) == []


def test_missing_data_opens_or_closes_alerts_as_the_rule_defines() -> None:
    assert fired_minutes([10, 10], no_data="open", times=[0, 40]) == [15]
    assert fired_minutes([95, 95], no_data="close", times=[0, 40]) == [0, 40]


def test_no_alert_opens_outside_the_opening_hours() -> None:
    monday_night = hours_on(1, start=1, end=2)
    assert fired_minutes([95, 95], hours=monday_night) == []


@pytest.mark.parametrize(
    ("local", "is_open"),
    [
        (datetime(2026, 3, 2, 23, tzinfo=UTC), True),  # a Monday
        (datetime(2026, 3, 3, 1, tzinfo=UTC), True),  # the night after that Monday
        (datetime(2026, 3, 3, 3, tzinfo=UTC), False),
        (datetime(2026, 3, 3, 23, tzinfo=UTC), False),
    ],
)
def test_opening_hours_may_end_on_the_following_day(local: datetime, is_open: bool) -> None:
    hours = hours_on(1, start=22, end=2)
    assert hours.include(local) is is_open


def test_opening_hours_are_in_their_time_zone() -> None:
    hours = hours_on(7, start=8, end=12, zone="America/New_York")
    assert hours.include(NOON + timedelta(hours=1))  # 8 o'clock in that time zone
    assert not hours.include(NOON)


@pytest.mark.django_db
def test_a_metric_rule_is_back_tested_on_the_tenants_devices(tenant: Tenant) -> None:
    rule = RuleFactory.create(tenant=tenant, is_enabled=False)
    calm, busy = DeviceFactory.create_batch(2, tenant=tenant)
    foreign_device = DeviceFactory.create()
    for device, values in ((calm, [10, 20]), (busy, [95, 10, 10, 10, 95]), (foreign_device, [99])):
        report(device, *every_five_minutes(NOON, values), now=NOON + 30 * MINUTE)

    with tenant_scope(tenant.pk):
        result = back_test(rule, days=7, now=NOON + timedelta(hours=1))

    assert (result.alerts, result.devices, result.complete) == (2, 1, True)
    assert result.worst == [(busy.pk, busy.name, 2, NOON)]
    assert result.by_day[NOON.date()] == 2
    assert len(result.by_day) == 8
    assert not rule.alerts.exists(), "a back-test must not open alerts"


@pytest.mark.django_db
def test_a_silence_rule_is_back_tested_on_pauses_from_events(tenant: Tenant) -> None:
    rule = silence_rule(tenant=tenant, threshold=10)
    device = DeviceFactory.create(tenant=tenant)
    for minute in (0, 5, 20, 28, 60, 85):  # silent for 5, 15, 8, 32 and 25 minutes
        with tenant_scope(tenant.pk):
            current = Device.objects.get(pk=device.pk)
            presence.record_sign_of_life(device=current, now=NOON + minute * MINUTE)
        presence.sweep(now=NOON + (minute + 4) * MINUTE, threshold=3 * MINUTE)

    with tenant_scope(tenant.pk):
        result = back_test(rule, days=1, now=NOON + 120 * MINUTE)

    # The last two pauses, of which one still lasts, begin soon enough to reopen the alert.
    assert result.alerts == 2


@pytest.mark.django_db
def test_a_certificate_rule_is_back_tested_on_expiry_dates(tenant: Tenant, device: Device) -> None:
    rule = RuleFactory.create(
        tenant=tenant, kind="certificate", measure="", operator="le", threshold=30
    )
    CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=NOON - timedelta(days=337)
    )

    with tenant_scope(tenant.pk):
        assert back_test(rule, days=7, now=NOON).alerts == 1
        assert back_test(rule, days=1, now=NOON).alerts == 0


@pytest.mark.django_db
def test_a_back_test_is_available_over_the_api(
    tenant: Tenant, device: Device, member: Callable[..., APIClient]
) -> None:
    rule = RuleFactory.create(tenant=tenant, is_enabled=False)
    now = timezone.now()
    report(device, *every_five_minutes(now - 30 * MINUTE, [95, 10]), now=now)
    client, path = member(), f"/monitoring/rules/{rule.pk}/back-test"

    result = client.post(path, {"days": 2}).json()

    assert (result["alerts"], result["devices"], result["days"]) == (1, 1, 2)
    assert result["worst"][0]["device_id"] == str(device.pk)
    assert client.post(path, {"days": 31}).status_code == 400
