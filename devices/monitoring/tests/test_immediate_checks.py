"""Tests of immediate checks, which evaluate new samples that may change alerts."""

from collections.abc import Callable
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from rest_framework.test import APIClient

from devices.metrics.tests.reporting import at, report
from devices.monitoring.models import Alert
from devices.monitoring.services import immediate_checks
from devices.monitoring.tasks import evaluate_rules
from devices.monitoring.tests.factories import RuleFactory, silence_rule
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import wait_until
from tenants.models import Tenant


@pytest.fixture(autouse=True)
def nothing_pending() -> None:
    list(immediate_checks.take_pending())


@pytest.fixture
def no_background_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(immediate_checks, "_request_check", lambda: None)


@pytest.mark.django_db
def test_samples_that_violate_no_rule_are_not_checked(
    tenant: Tenant, device: Device, no_background_call: None
) -> None:
    RuleFactory.create(tenant=tenant)
    report(device, at(timezone.now(), cpu_usage=10), now=timezone.now())

    assert list(immediate_checks.take_pending()) == []


@pytest.mark.django_db
def test_samples_that_may_open_or_close_an_alert_are_checked(
    tenant: Tenant, device: Device, no_background_call: None
) -> None:
    rule = RuleFactory.create(tenant=tenant)
    now = timezone.now()
    report(device, at(now - timedelta(minutes=1), cpu_usage=95), now=now)
    assert list(immediate_checks.take_pending()) == [[device.pk]]

    Alert.every_tenant.create(
        tenant=tenant,
        rule=rule,
        device=device,
        kind="metric",
        severity="high",
        since=now,
        opened_at=now,
    )
    immediate_checks.clear_cache()
    report(device, at(now, cpu_usage=10), now=now)
    assert list(immediate_checks.take_pending()) == [[device.pk]]


@pytest.mark.parametrize("error", [InterfaceError, OperationalError])
def test_rules_are_renewed_again_after_the_database_was_away(error: type[Exception]) -> None:
    with patch.object(immediate_checks, "_read_checks", side_effect=error):
        immediate_checks._read_in_background()  # an error would end the thread of all renewals


@pytest.mark.django_db(transaction=True)
def test_a_worker_opens_the_alert_and_closes_it(
    celery_worker: None, as_device: Callable[[Device], APIClient]
) -> None:
    rule = RuleFactory.create()
    device = DeviceFactory.create(tenant=rule.tenant)
    client = as_device(device)

    assert client.post("/devices/metrics", {"cpu_usage": 95}).status_code == 200
    wait_until(lambda: Alert.every_tenant.open().filter(device=device).exists())

    immediate_checks.clear_cache()  # instead of waiting until the cache expires
    client.post("/devices/metrics", {"cpu_usage": 10})
    wait_until(lambda: not Alert.every_tenant.open().exists())


@pytest.mark.django_db(transaction=True)
def test_the_periodic_task_evaluates_every_tenant_in_a_worker(celery_worker: None) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    for rule in (silence_rule(), silence_rule()):
        DeviceFactory.create(tenant=rule.tenant, last_seen=long_ago)

    evaluate_rules.delay()

    wait_until(lambda: Alert.every_tenant.filter(kind="silence").count() == 2)
