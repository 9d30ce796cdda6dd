"""Who is there: a device says so, and a sweep notices who has stopped saying so."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from devices.registry.errors import NoSuchDevice
from devices.registry.events import DeviceStatusChanged, DeviceUpdated
from devices.registry.extension_points import connect_response
from devices.registry.models import Device
from devices.registry.next_steps import as_response
from devices.registry.queries import seen_while_online
from devices.registry.services.fleet_silence import fleet_silences
from devices.registry.services.quarantine import seen_connecting
from events.domain_events import Changes, DomainEvent
from events.services.outbox import record

SWEEP_BATCH = (
    20_000  # each batch reads the whole table once; facts of one fit in memory
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a device says of itself when it connects; None where it says nothing."""

    app_version: str | None = None
    os_version: str | None = None
    ip_address: str | None = None

    def differences(self, device: Device) -> dict[str, str]:
        said = {
            "app_version": self.app_version,
            "os_version": self.os_version,
            "ip_address": self.ip_address,
        }
        return {
            name: value
            for name, value in said.items()
            if value is not None and value != getattr(device, name)
        }


def connect(*, device: Device, report: Report, now: datetime) -> dict[str, Any]:
    """A sign of life; return what the device should do next.

    The usual one, from a device that is online and unchanged, is a single statement
    without a transaction around it: it has nothing to announce.

    Raises:
        NoSuchDevice: the device was retired a moment ago.
    """
    unchanged = not report.differences(device)
    if not (unchanged and seen_while_online(device, now=now)):
        _note(device.pk, report, now)
    quarantined = device.quarantined_at is not None
    steps = None if quarantined else getattr(device, "next_steps", None)
    response = as_response(steps, now=now)
    for contribute in connect_response:
        response |= contribute(device, steps, now)
    return response


def heard(*, device: Device, now: datetime) -> None:
    """A sign of life that says nothing of the device itself, such as its metrics.

    Raises:
        NoSuchDevice: the device was retired a moment ago.
    """
    if not seen_while_online(device, now=now):
        _note(device.pk, Report(), now)


def sweep(*, now: datetime, threshold: timedelta) -> int:
    """Mark every silent device offline and announce each; return how many.

    Runs beside devices that report and beside itself: rows that somebody holds are
    skipped, and what is still silent then is found a minute later. When very many fall
    silent at once, the transaction that marks the last of them announces that as well.
    """
    total, marked = 0, SWEEP_BATCH
    while marked == SWEEP_BATCH:
        marked = _mark_silent(since=now - threshold, now=now)
        total += marked
    return total


@transaction.atomic
def _note(device_id: UUID, report: Report, now: datetime) -> None:
    held = Device.objects.select_for_update(no_key=True).living()
    device: Device | None = held.filter(pk=device_id).first()
    if device is None:
        raise NoSuchDevice
    facts: list[DomainEvent] = []
    new = report.differences(device)
    changes: Changes = {
        name: (getattr(device, name), value)
        for name, value in new.items()
        if name != "ip_address"  # on bad networks it changes all day
    }
    about: dict[str, Any] = {
        "tenant_id": device.tenant_id,
        "device_id": device.pk,
        "at": now,
    }
    if changes:
        facts.append(DeviceUpdated(**about, changes=changes))
    for name, value in new.items():
        setattr(device, name, value)
    if "ip_address" in new:
        facts += seen_connecting(device, now=now)
    facts += heard_of(device, now=now)
    device.save(update_fields=["status", "last_seen", *new])
    record(facts)


def heard_of(device: Device, *, now: datetime) -> list[DomainEvent]:
    """Make a held device online, for the caller to save; what there is to announce."""
    before, last_seen = device.status, device.last_seen
    device.status, device.last_seen = Device.Status.ONLINE, now
    if before == Device.Status.ONLINE:
        return []
    return [went_online(device, before=before, last_seen=last_seen)]


def went_online(
    device: Device, *, before: str, last_seen: datetime | None
) -> DomainEvent:
    """What there is to announce of a device that is heard of now; `before` it was not."""
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
def _mark_silent(*, since: datetime, now: datetime) -> int:
    online, offline = Device.Status.ONLINE.value, Device.Status.OFFLINE.value
    rows = _turned_offline(since, SWEEP_BATCH)
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
    if len(rows) < SWEEP_BATCH:
        record(fleet_silences(now=now))
    return len(rows)


def _turned_offline(since: datetime, limit: int) -> list[tuple[UUID, UUID, datetime]]:
    """Compare and set in one statement: (device, tenant, last seen) of each one marked.

    In SQL, because the ORM has no UPDATE … RETURNING, and reading the rows first
    would double the work. Materialized, because a subquery under IN may be run again
    for each row, and would then find other rows each time.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH silent AS MATERIALIZED (
                SELECT id FROM devices_device
                WHERE status = %(online)s AND last_seen < %(since)s
                LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
            )
            UPDATE devices_device device SET status = %(offline)s
            FROM silent WHERE device.id = silent.id
            RETURNING device.id, device.tenant_id, device.last_seen
            """,
            {
                "online": Device.Status.ONLINE.value,
                "offline": Device.Status.OFFLINE.value,
                "since": since,
                "limit": limit,
            },
        )
        rows: list[tuple[UUID, UUID, datetime]] = cursor.fetchall()
    return rows
