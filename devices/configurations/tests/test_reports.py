"""Reports of devices about their configuration, compared with the desired configuration."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from devices.configurations.documents import EMPTY_VERSION, version_of
from devices.configurations.errors import UnknownVersion
from devices.configurations.models import EffectiveDocument, ReportedConfiguration
from devices.configurations.services import reports, retention
from devices.configurations.services.reports import Comparison
from devices.configurations.tests.documents import next_steps_of, save_for_device
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Role
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db

LOUD = version_of({"volume": 50})
QUIET = version_of({"volume": 5})


def report(device: Device, version: str, **fields: Any) -> ReportedConfiguration:
    fields = {"outcome": "applied", **fields}
    with tenant_scope(device.tenant_id):
        return reports.report(device=device, version=version, **fields)


def compare(device: Device) -> Comparison:
    with tenant_scope(device.tenant_id):
        return reports.compare(device)


@pytest.fixture
def loud(device: Device, now: datetime) -> Device:
    save_for_device(device, {"volume": 50}, now=now)
    return device


def test_a_device_that_applied_its_version_does_not_wait(loud: Device, now: datetime) -> None:
    report(loud, LOUD, now=now)
    assert next_steps_of(loud).configuration_waiting_since is None
    assert compare(loud).differences == []


def test_a_device_without_a_report_differs_in_every_key(loud: Device, now: datetime) -> None:
    (difference,) = compare(loud).differences
    assert (difference.key, difference.before, difference.after) == ("volume", None, 50)


def test_differences_are_from_the_applied_to_the_desired_document(
    loud: Device, now: datetime
) -> None:
    report(loud, LOUD, now=now)
    save_for_device(loud, {"volume": 5}, now=now)
    (difference,) = compare(loud).differences
    assert (difference.before, difference.after) == (50, 5)


def test_a_device_waits_after_a_failure(loud: Device, now: datetime) -> None:
    report(loud, LOUD, outcome="failed", reason="No mixer.", failed_keys=["volume"], now=now)
    comparison = compare(loud)
    assert comparison.waiting_since == now
    assert comparison.report is not None
    assert comparison.report.reason == "No mixer."
    event = Event.every_tenant.get(name="configuration.failed")
    assert event.data["failed_keys"] == ["volume"]


def test_a_failure_keeps_the_applied_version(loud: Device, now: datetime) -> None:
    report(loud, LOUD, now=now)
    save_for_device(loud, {"volume": 5}, now=now)
    report(loud, QUIET, outcome="failed", reason="No mixer.", now=now)
    assert compare(loud).applied_version == LOUD


def test_a_reported_document_is_compare(loud: Device, now: datetime) -> None:
    report(loud, LOUD, document={"volume": 48}, now=now)
    (difference,) = compare(loud).differences
    assert (difference.before, difference.after) == (48, 50)


def test_a_failure_without_a_reason_counts(loud: Device, now: datetime) -> None:
    report(loud, LOUD, outcome="failed", now=now)
    assert ReportedConfiguration.every_tenant.get().reason == "The device has given no reason."


def test_an_unknown_version_is_rejected(loud: Device, now: datetime) -> None:
    with pytest.raises(UnknownVersion):
        report(loud, "0" * 64, now=now)
    assert not ReportedConfiguration.every_tenant.exists()


def test_a_version_of_another_tenant_is_unknown(loud: Device, now: datetime) -> None:
    other = DeviceFactory.create(tenant=TenantFactory.create())
    with pytest.raises(UnknownVersion):
        report(other, LOUD, now=now)


@pytest.mark.parametrize(
    "document",
    [
        {"extra": 5},
        {"extra": "x"},
        {"resolution": "4k"},
        {"launch": {}},
        {"launch": "x"},
        {"schedule": ["x"]},
        {"schedule": 5},
        {"orientation": {"a": 1}},
    ],
)
def test_any_reported_document_can_be_shown(
    loud: Device, member: Callable[..., APIClient], now: datetime, document: Any
) -> None:
    report(loud, LOUD, document=document, now=now)
    assert compare(loud).differences
    response = member(Role.VIEWER).get(f"/devices/{loud.pk}/configuration")
    assert response.status_code == 200
    client = Client()
    membership = MembershipFactory.create(tenant=loud.tenant, role=Role.VIEWER)
    client.force_login(membership.user)
    page = client.get(f"/admin/devices/device/{loud.pk}/change/")
    assert page.status_code == 200


def test_a_failure_of_the_applied_version_makes_the_device_wait(
    loud: Device, now: datetime
) -> None:
    report(loud, LOUD, now=now)
    later = now + timedelta(minutes=1)
    report(loud, LOUD, outcome="failed", reason="The mixer broke.", now=later)
    assert next_steps_of(loud).configuration_waiting_since == later


def test_one_and_true_are_different_reports(loud: Device, now: datetime) -> None:
    for value in (1, True):
        report(loud, LOUD, document={"extra": {"a": value}}, now=now)
    assert Event.every_tenant.filter(name="configuration.applied").count() == 2


def test_another_change_keeps_the_start_of_waiting(loud: Device, now: datetime) -> None:
    save_for_device(loud, {"volume": 5}, now=now + timedelta(hours=1))
    assert next_steps_of(loud).configuration_waiting_since == now


@pytest.mark.parametrize("value", [[1e99] * 10_000, "x" * 70_000])
def test_a_document_that_cannot_be_stored_is_dropped(
    loud: Device, now: datetime, value: Any
) -> None:
    report(loud, LOUD, document={"a": value}, now=now)
    row = ReportedConfiguration.every_tenant.get()
    assert (row.outcome, row.document) == ("applied", None)


def test_a_repeated_report_has_no_effect(loud: Device, now: datetime) -> None:
    report(loud, LOUD, now=now)
    report(loud, LOUD, now=now + timedelta(minutes=1))
    assert Event.every_tenant.filter(name="configuration.applied").count() == 1


def test_a_late_report_of_an_old_version_makes_the_device_wait(loud: Device, now: datetime) -> None:
    save_for_device(loud, {"volume": 5}, now=now)
    report(loud, QUIET, now=now)
    later = now + timedelta(minutes=1)
    report(loud, LOUD, now=later)
    assert next_steps_of(loud).configuration_waiting_since == later


def test_a_device_without_layers_can_report_the_empty_version(
    device: Device, now: datetime
) -> None:
    report(device, EMPTY_VERSION, now=now)
    assert compare(device).differences == []


def test_restoring_the_applied_configuration_ends_waiting(loud: Device, now: datetime) -> None:
    report(loud, LOUD, now=now)
    save_for_device(loud, {"volume": 5}, now=now)
    save_for_device(loud, {"volume": 50}, now=now)
    assert next_steps_of(loud).configuration_waiting_since is None


def test_documents_that_no_device_has_are_deleted(loud: Device, now: datetime) -> None:
    report(loud, LOUD, now=now)
    for volume in (1, 2):
        save_for_device(loud, {"volume": volume}, now=now)
    assert retention.delete_unused(before=now + timedelta(days=1)) == 1
    kept = set(EffectiveDocument.every_tenant.values_list("version", flat=True))
    assert kept == {LOUD, version_of({"volume": 2})}


def test_the_retention_time_starts_at_the_last_assignment(loud: Device, now: datetime) -> None:
    save_for_device(loud, {"volume": 1}, now=now + timedelta(days=91))
    assert retention.delete_unused(before=now + timedelta(days=1)) == 0


def test_recent_documents_are_kept(loud: Device, now: datetime) -> None:
    save_for_device(loud, {"volume": 1}, now=now)
    assert retention.delete_unused(before=now) == 0
