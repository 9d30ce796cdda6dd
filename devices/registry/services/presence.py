"""Update the last-seen times of devices and mark silent devices offline."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from core.querysets import first_or_raise
from devices.registry.clones import Kind, Observation, is_counter_jump
from devices.registry.errors import DeviceNotFound
from devices.registry.events import DeviceStatusChanged, DeviceUpdated
from devices.registry.extension_points import certificate_named, connect_response
from devices.registry.models import Device
from devices.registry.next_steps import as_response
from devices.registry.queries import device_ranges, mark_silent_offline, update_last_seen_if_online
from devices.registry.services.clone_detection import observe
from devices.registry.services.fleet_silence import fleet_silences
from events.domain_events import DomainEvent
from events.services.outbox import record

UNRECORDED = {"ip_address", "boot_id"}  # they may change many times a day
SWEEP_SLICE = 5_000  # devices in one transaction
RECENTLY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectReport:
    """The data that a device sends when it connects. Missing fields are None, or empty.

    `certificate_serial_number` names the certificate that the device uses.
    """

    app_version: str | None = None
    os_version: str | None = None
    ip_address: str | None = None
    boot_id: str | None = None
    report_number: int | None = None
    certificate_serial_number: str | None = None

    def differences(self, device: Device) -> dict[str, str]:
        """Return the reported fields that differ from the stored device, with the new values."""
        fields = {
            "app_version": self.app_version,
            "os_version": self.os_version,
            "ip_address": self.ip_address,
            "boot_id": self.boot_id,
        }
        return {
            name: value
            for name, value in fields.items()
            if value and value != getattr(device, name)
        }

    def observations(self, device: Device, now: datetime) -> list[Observation]:
        """Return what may show that the device was cloned, compared with the stored device.

        The number of the report counts only if the device sends no boot id, which is better.
        """
        boot_id, number = self.boot_id, self.report_number
        if boot_id:
            if not device.boot_id or boot_id == device.boot_id:
                return []
            return [Observation(Kind.BOOT, now, boot_id, device.boot_id)]
        if number is None or not is_counter_jump(device.report_number, number):
            return []
        return [Observation(Kind.COUNTER, now, str(number), str(device.report_number))]


def connect(*, device: Device, report: ConnectReport, now: datetime) -> dict[str, Any]:
    """Record a connect and return the fields of the `connect` response.

    Usually the device is online and unchanged. Then there is no event to record, and one
    statement without a transaction is enough.

    Raises:
        DeviceNotFound: the device was retired concurrently.
    """
    unchanged = not report.differences(device) and not report.observations(device, now)
    number = report.report_number
    if not (unchanged and update_last_seen_if_online(device, now=now, report_number=number)):
        _update_device(device.pk, report, now)
    if report.certificate_serial_number and device.quarantined_at is None:
        for confirm in certificate_named:
            confirm(device, report.certificate_serial_number, now)
    return connect_fields(device, now=now)


def connect_fields(device: Device, *, now: datetime) -> dict[str, Any]:
    """Return the fields of the `connect` response. `next_steps` of the device is loaded."""
    is_quarantined = device.quarantined_at is not None
    steps = None if is_quarantined else getattr(device, "next_steps", None)
    response = as_response(steps, now=now)
    for contribute in connect_response:
        response |= contribute(device, steps, now)
    return response


def record_sign_of_life(*, device: Device, now: datetime) -> None:
    """Update a device's last-seen time after a request other than connect, such as metrics.

    Raises:
        DeviceNotFound: the device was retired concurrently.
    """
    if not update_last_seen_if_online(device, now=now):
        _update_device(device.pk, ConnectReport(), now)


@transaction.atomic
def note_disconnection(*, device_id: UUID, now: datetime) -> bool:
    """Mark a device of the current tenant offline, because its connection was lost.

    A device that was seen a moment ago stays online: it has another connection.

    Returns:
        Whether the device is offline now because of the call.
    """
    silent = Device.objects.filter(status=Device.Status.ONLINE, last_seen__lt=now - RECENTLY)
    device = silent.select_for_update(no_key=True).filter(pk=device_id).first()
    if device is None or device.tenant_id is None or device.last_seen is None:
        return False
    device.status = Device.Status.OFFLINE
    device.save(update_fields=["status"])
    _record_offline([(device.pk, device.tenant_id, device.last_seen)], now)
    return True


def sweep(
    *, now: datetime, threshold: timedelta, time_is_up: Callable[[], bool] = lambda: False
) -> int:
    """Mark silent devices of all tenants offline and record an event for each device.

    A device is silent if it was last seen more than `threshold` ago. The sweep goes through the
    table once, in slices with a transaction each, so no row is locked for long. Several
    sweeps and connects may run concurrently, because a sweep skips locked rows. The next
    sweep marks the skipped devices if they are still silent. At the end, `FleetSilence` events
    are recorded.

    Args:
        threshold: the time without contact after which a device is silent.
        time_is_up: asked before each slice. The next sweep marks the devices that are left.

    Returns:
        The number of devices that were marked offline.
    """
    total = 0
    for range_ in device_ranges():
        count = SWEEP_SLICE
        while count == SWEEP_SLICE and not time_is_up():
            count = _mark_offline(range_, since=now - threshold, now=now)
            total += count
    with transaction.atomic():
        record(fleet_silences(now=now))
    return total


@transaction.atomic
def _update_device(device_id: UUID, report: ConnectReport, now: datetime) -> None:
    devices = Device.objects.select_for_update(no_key=True).not_retired()
    device = first_or_raise(devices.filter(pk=device_id), DeviceNotFound)
    events: list[DomainEvent] = []
    new_values = report.differences(device)
    changes = {
        name: (getattr(device, name), value)
        for name, value in new_values.items()
        if name not in UNRECORDED
    }
    if changes:
        events.append(
            DeviceUpdated(tenant_id=device.tenant_id, device_id=device.pk, at=now, changes=changes)
        )
    observations = report.observations(device, now)
    for name, value in new_values.items():
        setattr(device, name, value)
    if report.report_number is not None:
        device.report_number = report.report_number
    events += observe(device, observations)
    events += mark_online(device, now=now)
    device.save(update_fields=["status", "last_seen", "report_number", *new_values])
    record(events)


def mark_online(device: Device, *, now: datetime) -> list[DomainEvent]:
    """Set a locked device online without saving it. Return the events to record."""
    before, last_seen = device.status, device.last_seen
    device.status, device.last_seen = Device.Status.ONLINE, now
    if before == Device.Status.ONLINE:
        return []
    return [online_event(device, before=before, last_seen=last_seen)]


def online_event(device: Device, *, before: str, last_seen: datetime | None) -> DomainEvent:
    """Return the event of a device that went online.

    Args:
        before: the previous status.
        last_seen: the previous last-seen time; None if the device was never seen.
    """
    assert device.last_seen is not None
    online = Device.Status.ONLINE.value
    return DeviceStatusChanged(
        tenant_id=device.tenant_id,
        device_id=device.pk,
        at=device.last_seen,
        status=online,
        last_seen=last_seen,
        changes={"status": (before, online)},
    )


@transaction.atomic
def _mark_offline(range_: tuple[str, str], *, since: datetime, now: datetime) -> int:
    """Mark a slice of the silent devices. Return their number."""
    rows = mark_silent_offline(range_, since=since, limit=SWEEP_SLICE)
    _record_offline(rows, now)
    return len(rows)


def _record_offline(rows: Iterable[tuple[UUID, UUID, datetime]], now: datetime) -> None:
    """Record that devices are offline: their ids, their tenants, and when they were seen."""
    online, offline = Device.Status.ONLINE.value, Device.Status.OFFLINE.value
    record(
        DeviceStatusChanged(
            tenant_id=tenant_id,
            device_id=device_id,
            at=now,
            status=offline,
            last_seen=last_seen,
            changes={"status": (online, offline)},
        )
        for device_id, tenant_id, last_seen in rows
    )
