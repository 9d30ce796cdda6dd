"""Reports of devices about their configuration, compared with the desired configuration."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from devices.configurations.document_validation import find_storage_faults
from devices.configurations.documents import (
    EMPTY_VERSION,
    Difference,
    differences,
    json_equal,
    normalise,
)
from devices.configurations.errors import UnknownVersion
from devices.configurations.events import ConfigurationApplied, ConfigurationFailed
from devices.configurations.models import ReportedConfiguration
from devices.configurations.services import effective
from devices.registry import next_steps
from devices.registry.models import Device, NextSteps
from events.domain_events import DomainEvent
from events.services.outbox import record

Outcome = ReportedConfiguration.Outcome
NO_REASON = "The device has given no reason."
REPORT_FIELDS = ("version", "outcome", "reason", "failed_keys", "document")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The desired and the applied configuration of a device, and their differences.

    `is_assigned` is False for a new device until it connects or a layer changes.
    """

    desired_version: str
    is_assigned: bool
    applied_version: str | None
    applied: dict[str, Any] | None
    waiting_since: datetime | None
    report: ReportedConfiguration | None
    differences: list[Difference]


@transaction.atomic
def report(
    *,
    device: Device,
    version: str,
    outcome: str,
    reason: str = "",
    failed_keys: Sequence[str] = (),
    document: dict[str, Any] | None = None,
    now: datetime,
) -> ReportedConfiguration:
    """Store that a device has applied a version, or why this was not possible.

    Repeating the last report has no effect.

    Args:
        version: the version of the document that the device received.
        document: the configuration in use, if it differs from the received document. It is
            dropped if it cannot be stored.

    Raises:
        UnknownVersion: no device of this tenant was ever assigned the version.
    """
    if effective.document_of(version) is None:
        raise UnknownVersion
    if outcome == Outcome.FAILED:
        reason = reason or NO_REASON
    if document is not None and find_storage_faults(document):
        document = None
    locking = NextSteps.objects.select_for_update(no_key=True).filter(device=device)
    steps = locking.first()
    before = ReportedConfiguration.objects.filter(device=device).first()
    values: dict[str, Any] = {
        "version": version,
        "outcome": outcome,
        "reason": reason,
        "failed_keys": list(failed_keys),
        "document": None if document is None else normalise(document),
    }
    if before is not None and all(
        json_equal(getattr(before, name), values[name]) for name in REPORT_FIELDS
    ):
        return before
    row = ReportedConfiguration(device=device, **values, reported_at=now)
    row.applied_version = _applied_version(row, before)
    _store(row)
    _update_waiting(device, steps, row, now)
    record([_event(device, row, now)])
    return row


def compare(device: Device) -> Comparison:
    """Compare a device's desired configuration with its reported configuration."""
    steps = NextSteps.objects.filter(device=device).first()
    row = ReportedConfiguration.objects.filter(device=device).first()
    version = (steps.configuration_version if steps else None) or EMPTY_VERSION
    desired = effective.document_of(version) or {}
    applied_version = row.applied_version or None if row else None
    applied = None
    if row is not None and row.document is not None:
        applied = row.document
    elif applied_version is not None:
        applied = effective.document_of(applied_version)
    waiting_since = steps.configuration_waiting_since if steps else None
    is_converged = waiting_since is None and (row is None or row.document is None)
    return Comparison(
        desired_version=version,
        is_assigned=steps is not None and steps.configuration_version is not None,
        applied_version=applied_version,
        applied=applied,
        waiting_since=waiting_since,
        report=row,
        differences=[] if is_converged else differences(applied or {}, desired),
    )


def _applied_version(row: ReportedConfiguration, before: ReportedConfiguration | None) -> str:
    """Return the version in use on a device after a report, "" if the version is unknown."""
    if row.outcome == Outcome.APPLIED:
        return row.version
    previous = before.applied_version if before is not None else ""
    # If the applied version fails, the device does not have this version any more.
    return "" if previous == row.version else previous


def _store(row: ReportedConfiguration) -> None:
    ReportedConfiguration.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["device"],
        update_fields=[*REPORT_FIELDS, "applied_version", "reported_at"],
    )


def _update_waiting(
    device: Device, steps: NextSteps | None, row: ReportedConfiguration, now: datetime
) -> None:
    """Update the time since which the device waits for its desired configuration."""
    desired = (steps.configuration_version if steps else None) or EMPTY_VERSION
    before = steps.configuration_waiting_since if steps else None
    since = None if effective.has_applied(row, desired) else before or now
    if since != before:
        next_steps.write(device, configuration_waiting_since=since)


def _event(device: Device, row: ReportedConfiguration, now: datetime) -> DomainEvent:
    fields: dict[str, Any] = {
        "tenant_id": device.tenant_id,
        "device_id": device.pk,
        "at": now,
        "version": row.version,
    }
    if row.outcome == Outcome.APPLIED:
        return ConfigurationApplied(**fields)
    return ConfigurationFailed(**fields, reason=row.reason, failed_keys=list(row.failed_keys))
