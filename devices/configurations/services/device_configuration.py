"""Desired and reported configuration of one device."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core import weekly_times
from devices.configurations.documents import Difference, Document
from devices.configurations.models import ReportedConfiguration
from devices.configurations.services import effective, reports
from devices.configurations.services.effective import Source
from devices.registry.models import Device


@dataclass(frozen=True, slots=True)
class LayerOfDevice:
    """A layer that applies to a device, with its document."""

    source: Source
    document: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationStatus:
    """A device's desired configuration, the source of each key, and the last report.

    `is_assigned` is False for a new device until it connects or a layer changes.
    `working_out` is True while `configuration` is newer than the assigned `version`. This
    is the case if a layer was changed and the version was not recalculated yet.
    """

    device_id: UUID
    version: str
    is_assigned: bool
    working_out: bool
    configuration: dict[str, Any]
    sources: dict[str, Source]
    layers: list[LayerOfDevice]
    reported: ReportedConfiguration | None
    applied: dict[str, Any] | None
    waiting_since: datetime | None
    differences: list[Difference]
    screen: weekly_times.State | None


def get_status(device: Device, *, now: datetime) -> ConfigurationStatus:
    """Return the configuration status of a device of the current tenant."""
    merged, layers = effective.explain(device)
    comparison = reports.compare(device)
    is_assigned = device.status != Device.Status.RETIRED and comparison.is_assigned
    return ConfigurationStatus(
        device_id=device.pk,
        version=comparison.desired_version,
        is_assigned=is_assigned,
        working_out=is_assigned and merged.version != comparison.desired_version,
        configuration=merged.document,
        sources=merged.sources,
        layers=[LayerOfDevice(source, document) for source, document in layers],
        reported=comparison.report,
        applied=comparison.applied,
        waiting_since=comparison.waiting_since,
        differences=comparison.differences,
        screen=screen_state(merged.document, now=now),
    )


def screen_state(configuration: Document, *, now: datetime) -> weekly_times.State | None:
    """Return the scheduled state of the screen, None if the schedule or time zone is not set."""
    schedule, zone = configuration.get("schedule"), configuration.get("time_zone")
    if schedule is None or zone is None:
        return None
    times = weekly_times.from_entries(schedule, start="on", end="off")
    return weekly_times.state_at(times, zone, now)
