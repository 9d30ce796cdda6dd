"""Start, use and end remote control sessions."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from core.locks import transaction_lock
from core.querysets import first_or_raise
from devices.maintenance.services import open_windows
from devices.registry.errors import DeviceIsRetired, DeviceNotFound
from devices.registry.models import Device
from devices.remote_control.errors import (
    DeviceIsControlled,
    DeviceIsInMaintenance,
    DeviceIsOffline,
    DeviceIsQuarantined,
    NoActiveSession,
    NotTheController,
    SessionEnded,
    SessionRequired,
)
from devices.remote_control.events import RemoteControlEnded, RemoteControlStarted
from devices.remote_control.models import RemoteControlSession
from devices.remote_control.services import command_expiry
from events.services.outbox import record
from tenants.models import User

IDLE = timedelta(minutes=5)  # a session not used for this long has ended
BATCH = 500

End = RemoteControlSession.End


@transaction.atomic
def start(*, device: Device, controller: User, now: datetime) -> tuple[RemoteControlSession, bool]:
    """Start a session. If the controller has a session on the device already, return it.

    Returns:
        The session, and whether it is new.

    Raises:
        DeviceIsRetired, DeviceIsQuarantined, DeviceIsOffline: the device cannot be
            controlled.
        DeviceIsInMaintenance: a maintenance window holds the commands of the device.
        DeviceIsControlled: another member controls the device.
    """
    transaction_lock(f"control of {device.pk}")
    check_reachable(_reloaded(device))
    check_maintenance(device, now=now)
    active = current(device, now=now)
    if active is not None and active.controller_id != controller.pk:
        raise DeviceIsControlled(summary(active))
    if active is not None and _touch(active, now):
        return active, False
    unused = RemoteControlSession.objects.open().filter(device=device)
    _end(unused, End.IDLE, now)
    session = RemoteControlSession.objects.create(
        device=device, controller=controller, started_at=now, last_used_at=now
    )
    record(
        [
            RemoteControlStarted(
                tenant_id=device.tenant_id, device_id=device.pk, at=now, session=str(session.pk)
            )
        ]
    )
    return session, True


@transaction.atomic
def end(*, device: Device, by: User, may_end_others: bool, now: datetime) -> RemoteControlSession:
    """End the session on a device.

    Args:
        may_end_others: whether `by` may end another member's session.

    Raises:
        NoActiveSession: the device has no active session.
        NotTheController: the session belongs to another member, and
            `may_end_others` is false.
    """
    transaction_lock(f"control of {device.pk}")
    active = current(device, now=now)
    if active is None:
        raise NoActiveSession
    is_own = active.controller_id == by.pk
    if not is_own and not may_end_others:
        raise NotTheController
    reason = End.BY_HAND if is_own else End.ADMINISTRATOR
    if not _end([active], reason, now):
        raise NoActiveSession
    active.ended_at, active.end = now, reason
    return active


def touch(
    *, device: Device, by: User, session_id: UUID | None, is_required: bool, now: datetime
) -> RemoteControlSession | None:
    """Check that a member may command a device, and extend the session of this member.

    Must run in a transaction.

    Args:
        session_id: the session in which the client issues the command; None accepts any
            session of the member.
        is_required: whether the command requires a session.

    Returns:
        The member's session, or None if the device has no active session.

    Raises:
        DeviceIsControlled: another member controls the device.
        SessionEnded: the session `session_id` has ended.
        SessionRequired: the command requires a session, and no session is active.
    """
    transaction_lock(f"control of {device.pk}")
    active = current(device, now=now)
    if active is not None and active.controller_id != by.pk:
        raise DeviceIsControlled(summary(active))
    if session_id is not None and (active is None or active.pk != session_id):
        sessions = RemoteControlSession.objects.filter(pk=session_id, device=device)
        session = sessions.first()
        raise SessionEnded((session.end or End.IDLE) if session else None)
    if active is None and is_required:
        raise SessionRequired
    if active is not None and not _touch(active, now):
        raise SessionEnded(None)  # another transaction has just ended it
    return active


def check_maintenance(device: Device, *, now: datetime) -> None:
    """Check that no maintenance window holds the commands of a device.

    Raises:
        DeviceIsInMaintenance: a window does.
    """
    item = open_windows.holding_commands(device, now=now)
    if item is not None:
        raise DeviceIsInMaintenance(item.window.name, item.until)


def current(device: Device, *, now: datetime) -> RemoteControlSession | None:
    """Return the device's active session, or None. Idle sessions are not active."""
    sessions = RemoteControlSession.objects.in_use(now - IDLE).filter(device=device)
    return sessions.select_related("controller").first()


def summary(session: RemoteControlSession) -> dict[str, Any]:
    """Return the `current` field of a `DeviceIsControlled` error."""
    return {
        "controller": session.controller.email,
        "started_at": session.started_at.isoformat(),
        "last_used_at": session.last_used_at.isoformat(),
    }


def end_expired(*, now: datetime) -> int:
    """End every tenant's sessions that are idle or whose device is unavailable.

    A device is unavailable when it is offline or in quarantine.

    Returns:
        The number of ended sessions.
    """
    ended = 0
    sessions = RemoteControlSession.every_tenant.open().order_by("device_id")
    for expired, reason in (
        (sessions.unused(now - IDLE), End.IDLE),
        (sessions.filter(device__quarantined_at__isnull=False), End.DEVICE),
        (sessions.exclude(device__status=Device.Status.ONLINE), End.OFFLINE),
    ):
        with transaction.atomic():
            ended += _end(expired[:BATCH], reason, now, skip_locked=True)
    return ended


@transaction.atomic
def end_of_retired_device(device_id: UUID, now: datetime) -> None:
    """End the session of a device that is being retired."""
    transaction_lock(f"control of {device_id}")
    sessions = RemoteControlSession.every_tenant.open().filter(device=device_id)
    _end(sessions, End.DEVICE, now)


def check_reachable(device: Device, *, allow_offline: bool = False) -> None:
    """Check that a device can receive commands.

    Raises:
        DeviceIsRetired, DeviceIsQuarantined: the device receives no commands.
        DeviceIsOffline: the device is offline, and `allow_offline` is false.
    """
    if device.status == Device.Status.RETIRED:
        raise DeviceIsRetired
    if device.quarantined_at is not None:
        raise DeviceIsQuarantined
    if device.status != Device.Status.ONLINE and not allow_offline:
        raise DeviceIsOffline


def _touch(session: RemoteControlSession, now: datetime) -> bool:
    """Set when a session was last used. Return False if it has just ended."""
    session.last_used_at = now
    open_sessions = RemoteControlSession.objects.open().filter(pk=session.pk)
    return open_sessions.update(last_used_at=now) == 1


def _reloaded(device: Device) -> Device:
    return first_or_raise(Device.objects.filter(pk=device.pk), DeviceNotFound)


def _end(
    sessions: Iterable[RemoteControlSession],
    reason: str,
    now: datetime,
    *,
    skip_locked: bool = False,
) -> int:
    """End sessions, and cancel gestures of these sessions that the device has not fetched yet.

    The sessions are locked and read again, so that a session that another transaction
    has ended meanwhile does not end twice.

    Returns:
        The number of ended sessions.
    """
    open_sessions = RemoteControlSession.every_tenant.open().filter(
        pk__in=[session.pk for session in sessions]
    )
    locked = open_sessions.select_for_update(of=("self",), skip_locked=skip_locked)
    ended = list(locked.select_related("controller").order_by("device_id"))
    for session in ended:
        session.ended_at, session.end = now, reason
    RemoteControlSession.every_tenant.bulk_update(ended, ["ended_at", "end"])
    record(
        RemoteControlEnded(
            tenant_id=session.tenant_id,
            device_id=session.device_id,
            at=now,
            session=str(session.pk),
            controller=session.controller.email,
            end=reason,
        )
        for session in ended
    )
    if ended:
        command_expiry.cancel_gestures_of(ended, now=now)
    return len(ended)
