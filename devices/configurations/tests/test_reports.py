"""A device says what it has applied, or why it could not: desired against reported."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from devices.configurations.documents import NOTHING, version_of
from devices.configurations.errors import (
    InvalidDocument,
    InvalidReport,
    UnknownVersion,
)
from devices.configurations.models import EffectiveDocument, ReportedConfiguration
from devices.configurations.services import reports, retention
from devices.configurations.services.reports import Comparison
from devices.configurations.tests.documents import for_device, told
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from events.models import Event
from tenants.context import tenant_scope
from tenants.models import Role
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db

LOUD = version_of({"volume": 50})
QUIET = version_of({"volume": 5})


def report(device: Device, version: str, **said: Any) -> ReportedConfiguration:
    said = {"outcome": "applied", **said}
    with tenant_scope(device.tenant_id):
        return reports.report(device=device, version=version, **said)


def compared(device: Device) -> Comparison:
    with tenant_scope(device.tenant_id):
        return reports.compare(device)


@pytest.fixture
def loud(device: Device, now: datetime) -> Device:
    for_device(device, {"volume": 50}, now=now)
    return device


def test_a_device_that_has_applied_it_waits_no_more(
    loud: Device, now: datetime
) -> None:
    report(loud, LOUD, now=now)
    assert told(loud).configuration_waiting_since is None
    assert compared(loud).differences == []


def test_one_that_has_never_reported_differs_in_every_key(
    loud: Device, now: datetime
) -> None:
    (difference,) = compared(loud).differences
    assert (difference.key, difference.before, difference.after) == ("volume", None, 50)


def test_the_difference_is_from_what_it_has_to_what_it_should_have(
    loud: Device, now: datetime
) -> None:
    report(loud, LOUD, now=now)
    for_device(loud, {"volume": 5}, now=now)
    (difference,) = compared(loud).differences
    assert (difference.before, difference.after) == (50, 5)


def test_a_failure_says_why_and_leaves_it_waiting(loud: Device, now: datetime) -> None:
    report(
        loud,
        LOUD,
        outcome="failed",
        reason="No mixer.",
        failed_keys=["volume"],
        now=now,
    )
    comparison = compared(loud)
    assert comparison.waiting_since == now
    assert comparison.report is not None
    assert comparison.report.reason == "No mixer."
    event = Event.every_tenant.get(name="configuration.failed")
    assert event.data["failed_keys"] == ["volume"]


def test_a_failure_does_not_undo_what_was_applied_before(
    loud: Device, now: datetime
) -> None:
    report(loud, LOUD, now=now)
    for_device(loud, {"volume": 5}, now=now)
    report(loud, QUIET, outcome="failed", reason="No mixer.", now=now)
    assert compared(loud).applied_version == LOUD


def test_what_it_has_in_fact_is_compared_if_it_says_so(
    loud: Device, now: datetime
) -> None:
    report(loud, LOUD, document={"volume": 48}, now=now)
    (difference,) = compared(loud).differences
    assert (difference.before, difference.after) == (48, 50)


def test_a_failure_has_a_reason(loud: Device, now: datetime) -> None:
    with pytest.raises(InvalidReport):
        report(loud, LOUD, outcome="failed", now=now)


def test_a_version_that_never_was_is_refused(loud: Device, now: datetime) -> None:
    with pytest.raises(UnknownVersion):
        report(loud, "0" * 64, now=now)
    assert not ReportedConfiguration.every_tenant.exists()


def test_another_tenants_version_never_was(loud: Device, now: datetime) -> None:
    stranger = DeviceFactory.create(tenant=TenantFactory.create())
    with pytest.raises(UnknownVersion):
        report(stranger, LOUD, now=now)


def test_a_document_that_cannot_be_kept_is_refused(loud: Device, now: datetime) -> None:
    with pytest.raises(InvalidDocument):
        report(loud, LOUD, document={"a": "x" * 70_000}, now=now)


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
def test_whatever_a_device_says_that_it_has_can_be_shown(
    loud: Device,
    member: Callable[..., APIClient],
    now: datetime,
    document: Any,
) -> None:
    report(loud, LOUD, document=document, now=now)
    assert compared(loud).differences
    answer = member(Role.VIEWER).get(f"/devices/{loud.pk}/configuration")
    assert answer.status_code == 200
    client = Client()
    membership = MembershipFactory.create(tenant=loud.tenant, role=Role.VIEWER)
    client.force_login(membership.user)
    page = client.get(f"/admin/devices/device/{loud.pk}/change/")
    assert page.status_code == 200


def test_a_failure_of_what_it_had_applied_is_waiting_again(
    loud: Device, now: datetime
) -> None:
    report(loud, LOUD, now=now)
    later = now + timedelta(minutes=1)
    report(loud, LOUD, outcome="failed", reason="The mixer broke.", now=later)
    assert told(loud).configuration_waiting_since == later


def test_one_is_not_true_in_what_it_has(loud: Device, now: datetime) -> None:
    for value in (1, True):
        report(loud, LOUD, document={"extra": {"a": value}}, now=now)
    assert Event.every_tenant.filter(name="configuration.applied").count() == 2


def test_it_has_waited_since_it_was_first_not_in_line(
    loud: Device, now: datetime
) -> None:
    for_device(loud, {"volume": 5}, now=now + timedelta(hours=1))
    assert told(loud).configuration_waiting_since == now


def test_very_many_bad_values_are_told_in_part(loud: Device, now: datetime) -> None:
    with pytest.raises(InvalidDocument) as refused:
        report(loud, LOUD, document={"a": [1e99] * 10_000}, now=now)
    assert len(refused.value.details) == 50


def test_the_same_report_again_is_one(loud: Device, now: datetime) -> None:
    report(loud, LOUD, now=now)
    report(loud, LOUD, now=now + timedelta(minutes=1))
    assert Event.every_tenant.filter(name="configuration.applied").count() == 1


def test_a_late_report_of_an_old_version_is_waiting_again(
    loud: Device, now: datetime
) -> None:
    for_device(loud, {"volume": 5}, now=now)
    report(loud, QUIET, now=now)
    later = now + timedelta(minutes=1)
    report(loud, LOUD, now=later)
    assert told(loud).configuration_waiting_since == later


def test_a_device_for_which_nothing_is_wanted_may_say_so(
    device: Device, now: datetime
) -> None:
    report(device, NOTHING, now=now)
    assert compared(device).differences == []


def test_going_back_to_what_it_has_ends_the_waiting(
    loud: Device, now: datetime
) -> None:
    report(loud, LOUD, now=now)
    for_device(loud, {"volume": 5}, now=now)
    for_device(loud, {"volume": 50}, now=now)
    assert told(loud).configuration_waiting_since is None


def test_documents_are_forgotten_when_nobody_wants_or_has_them(
    loud: Device, now: datetime
) -> None:
    report(loud, LOUD, now=now)
    for volume in (1, 2):
        for_device(loud, {"volume": volume}, now=now)
    assert retention.drop_outlived(before=now + timedelta(days=1)) == 1
    kept = set(EffectiveDocument.every_tenant.values_list("version", flat=True))
    assert kept == {LOUD, version_of({"volume": 2})}


def test_a_document_is_kept_from_when_it_was_last_wanted(
    loud: Device, now: datetime
) -> None:
    for_device(loud, {"volume": 1}, now=now + timedelta(days=91))
    assert retention.drop_outlived(before=now + timedelta(days=1)) == 0


def test_documents_are_kept_for_some_time(loud: Device, now: datetime) -> None:
    for_device(loud, {"volume": 1}, now=now)
    assert retention.drop_outlived(before=now) == 0
