"""What there is to say of a device's configuration: to the device, and to members."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from devices.configurations import schedules
from devices.configurations.documents import Difference, Document
from devices.configurations.models import ReportedConfiguration
from devices.configurations.schedules import Screen
from devices.configurations.services import effective, reports
from devices.configurations.services.effective import Source
from devices.registry.models import Device


@dataclass(frozen=True, slots=True)
class LayerOfDevice:
    """A layer that is for a device, with what it says."""

    source: Source
    document: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a device should have, why, and what it has."""

    device_id: UUID
    version: str
    is_told: bool  # it has connected, or a layer was changed since it is there
    working_out: bool  # a layer was changed, and the device is not told yet
    configuration: dict[str, Any]
    sources: dict[str, Source]
    layers: list[LayerOfDevice]
    reported: ReportedConfiguration | None
    applied: dict[str, Any] | None
    waiting_since: datetime | None
    differences: list[Difference]
    screen: Screen | None


def of_device(device: Device, *, now: datetime) -> Reading:
    """Everything about one device of the current tenant."""
    laid, layers = effective.explain(device)
    compared = reports.compare(device)
    is_told = device.status != Device.Status.RETIRED and compared.is_told
    return Reading(
        device_id=device.pk,
        version=compared.wanted_version,
        is_told=is_told,
        working_out=is_told and laid.version != compared.wanted_version,
        configuration=laid.document,
        sources=laid.sources,
        layers=[LayerOfDevice(source, document) for source, document in layers],
        reported=compared.report,
        applied=compared.applied,
        waiting_since=compared.waiting_since,
        differences=compared.differences,
        screen=screen_of(laid.document, now=now),
    )


def screen_of(configuration: Document, *, now: datetime) -> Screen | None:
    """Whether the screen is on by its schedule; None without one, or without a zone."""
    schedule, zone = configuration.get("schedule"), configuration.get("time_zone")
    if schedule is None or zone is None:
        return None
    return schedules.screen(schedule, ZoneInfo(zone), now)
