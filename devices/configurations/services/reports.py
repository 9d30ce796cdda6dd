"""What a device says of its configuration, and what is still different from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from devices.configurations.document_validation import unstorable
from devices.configurations.documents import (
    NOTHING,
    Difference,
    differences,
    normalised,
    same,
)
from devices.configurations.errors import (
    InvalidDocument,
    InvalidReport,
    UnknownVersion,
)
from devices.configurations.events import ConfigurationApplied, ConfigurationFailed
from devices.configurations.models import ReportedConfiguration
from devices.configurations.services import effective
from devices.registry import next_steps
from devices.registry.models import Device, NextSteps
from events.domain_events import DomainEvent
from events.services.outbox import record

Outcome = ReportedConfiguration.Outcome
SAID = ("version", "outcome", "reason", "failed_keys", "document")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a device should have, what it has, and the keys that differ.

    `is_told` is False until a new device has connected, or a layer was changed.
    """

    wanted_version: str
    is_told: bool
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
    """A device has applied a version, or says why it could not; the same again is once.

    Args:
        version: of the document that it was given.
        document: what it has in fact, if that is something else.

    Raises:
        UnknownVersion: nobody ever wanted that of a device of this tenant.
        InvalidReport: a failure without a reason.
        InvalidDocument: what it has in fact cannot be kept.
    """
    _check(version, outcome, reason, document)
    held = NextSteps.objects.select_for_update(no_key=True).filter(device=device)
    steps: NextSteps | None = held.first()
    before = ReportedConfiguration.objects.filter(device=device).first()
    said: dict[str, Any] = {
        "version": version,
        "outcome": outcome,
        "reason": reason,
        "failed_keys": list(failed_keys),
        "document": None if document is None else normalised(document),
    }
    if before is not None and all(same(getattr(before, n), said[n]) for n in SAID):
        return before
    row = ReportedConfiguration(device=device, **said, reported_at=now)
    row.applied_version = _applied(row, before)
    _keep(row)
    _settle(device, steps, row, now)
    record([_fact(device, row, now)])
    return row


def compare(device: Device) -> Comparison:
    """What a device should have against what it has, as far as it has said."""
    steps: NextSteps | None = NextSteps.objects.filter(device=device).first()
    row = ReportedConfiguration.objects.filter(device=device).first()
    version = (steps.configuration_version if steps else None) or NOTHING
    wanted = effective.document_of(version) or {}
    applied_version = row.applied_version or None if row else None
    applied = None
    if row is not None and row.document is not None:
        applied = row.document
    elif applied_version is not None:
        applied = effective.document_of(applied_version)
    waiting_since = steps.configuration_waiting_since if steps else None
    is_in_line = waiting_since is None and (row is None or row.document is None)
    return Comparison(
        wanted_version=version,
        is_told=steps is not None and steps.configuration_version is not None,
        applied_version=applied_version,
        applied=applied,
        waiting_since=waiting_since,
        report=row,
        differences=[] if is_in_line else differences(applied or {}, wanted),
    )


def _check(
    version: str, outcome: str, reason: str, document: dict[str, Any] | None
) -> None:
    if outcome == Outcome.FAILED and not reason:
        raise InvalidReport("Say why it could not be applied.", field="reason")
    if document is not None and (found := unstorable(document)):
        raise InvalidDocument(found)
    if effective.document_of(version) is None:
        raise UnknownVersion


def _applied(row: ReportedConfiguration, before: ReportedConfiguration | None) -> str:
    """The version that a device has after what it says, "" if that is not known."""
    if row.outcome == Outcome.APPLIED:
        return row.version
    had = before.applied_version if before is not None else ""
    return "" if had == row.version else had  # it says that it has it no more


def _keep(row: ReportedConfiguration) -> None:
    ReportedConfiguration.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["device"],
        update_fields=[*SAID, "applied_version", "reported_at"],
    )


def _settle(
    device: Device, steps: NextSteps | None, row: ReportedConfiguration, now: datetime
) -> None:
    """Note since when the device waits for what it should have, or that it has it."""
    wanted = (steps.configuration_version if steps else None) or NOTHING
    before = steps.configuration_waiting_since if steps else None
    since = None if effective.has_applied(row, wanted) else before or now
    if since != before:
        next_steps.write(device, configuration_waiting_since=since)


def _fact(device: Device, row: ReportedConfiguration, now: datetime) -> DomainEvent:
    about: dict[str, Any] = {
        "tenant_id": device.tenant_id,
        "device_id": device.pk,
        "at": now,
        "version": row.version,
    }
    if row.outcome == Outcome.APPLIED:
        return ConfigurationApplied(**about)
    return ConfigurationFailed(
        **about, reason=row.reason, failed_keys=list(row.failed_keys)
    )
