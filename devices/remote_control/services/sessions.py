"""Who controls a device: begun, used, ended."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from core.locks import in_turn
from devices.registry.errors import DeviceIsRetired, NoSuchDevice
from devices.registry.models import Device
from devices.remote_control.errors import (
    DeviceGetsNothing,
    DeviceIsControlled,
    DeviceIsOffline,
    NoSession,
    NotTheController,
    SessionEnded,
    SessionNeeded,
)
from devices.remote_control.events import RemoteControlEnded, RemoteControlStarted
from devices.remote_control.models import RemoteControlSession
from devices.remote_control.services import command_expiry
from events.services.outbox import record
from tenants.models import User

IDLE = timedelta(minutes=5)
BATCH = 500

End = RemoteControlSession.End


@transaction.atomic
def start(
    *, device: Device, controller: User, now: datetime
) -> tuple[RemoteControlSession, bool]:
    """Have a device to oneself; whoever has it already finds their session again.

    Returns:
        The session, and whether it is a new one.

    Raises:
        DeviceIsRetired, DeviceGetsNothing, DeviceIsOffline: it could not obey.
        DeviceIsControlled: somebody else has it.
    """
    in_turn(f"control of {device.pk}")
    check_reachable(_fresh(device))
    present = current(device, now=now)
    if present is not None and present.controller_id != controller.pk:
        raise DeviceIsControlled(shown(present))
    if present is not None and _used(present, now):
        return present, False
    unused = RemoteControlSession.objects.open().filter(device=device)
    _end(unused, End.IDLE, now)
    session = RemoteControlSession.objects.create(
        device=device, controller=controller, started_at=now, last_used_at=now
    )
    record(
        [
            RemoteControlStarted(
                tenant_id=device.tenant_id,
                device_id=device.pk,
                at=now,
                session=str(session.pk),
            )
        ]
    )
    return session, True


@transaction.atomic
def end(
    *, device: Device, by: User, may_end_others: bool, now: datetime
) -> RemoteControlSession:
    """Let a device go, or have somebody else do so.

    Raises:
        NoSession: nobody controls it.
        NotTheController: it is somebody else's, and `by` is no administrator.
    """
    in_turn(f"control of {device.pk}")
    present = current(device, now=now)
    if present is None:
        raise NoSession
    is_own = present.controller_id == by.pk
    if not is_own and not may_end_others:
        raise NotTheController
    how = End.BY_HAND if is_own else End.ADMINISTRATOR
    if not _end([present], how, now):
        raise NoSession
    present.ended_at, present.end = now, how
    return present


def use(
    *,
    device: Device,
    by: User,
    session_id: UUID | None,
    is_needed: bool,
    now: datetime,
) -> RemoteControlSession | None:
    """Note, in a transaction, that a controller commands a device.

    Args:
        session_id: the one that the controller believes to have; None: whichever.
        is_needed: without a session it may not be done.

    Raises:
        DeviceIsControlled: somebody else has it.
        SessionEnded: the one that was named is over.
        SessionNeeded: there is none.
    """
    in_turn(f"control of {device.pk}")
    present = current(device, now=now)
    if present is not None and present.controller_id != by.pk:
        raise DeviceIsControlled(shown(present))
    if session_id is not None and (present is None or present.pk != session_id):
        known = RemoteControlSession.objects.filter(pk=session_id, device=device)
        before: RemoteControlSession | None = known.first()
        raise SessionEnded((before.end or End.IDLE) if before else None)
    if present is None and is_needed:
        raise SessionNeeded
    if present is not None and not _used(present, now):
        raise SessionEnded(None)  # this very moment
    return present


def current(device: Device, *, now: datetime) -> RemoteControlSession | None:
    """The session at a device that is in use, by the clock."""
    mine = RemoteControlSession.objects.in_use(now - IDLE).filter(device=device)
    found: RemoteControlSession | None = mine.select_related("controller").first()
    return found


def shown(session: RemoteControlSession) -> dict[str, Any]:
    return {
        "controller": session.controller.email,
        "started_at": session.started_at.isoformat(),
        "last_used_at": session.last_used_at.isoformat(),
    }


def end_over(*, now: datetime) -> int:
    """End the sessions of every tenant whose time is over; return how many.

    That is: nobody uses it, or the device went offline, or into quarantine.
    """
    ended = 0
    open_ones = RemoteControlSession.every_tenant.open().order_by("device_id")
    for over, how in (
        (open_ones.unused(now - IDLE), End.IDLE),
        (open_ones.filter(device__quarantined_at__isnull=False), End.DEVICE),
        (open_ones.exclude(device__status=Device.Status.ONLINE), End.OFFLINE),
    ):
        with transaction.atomic():
            ended += _end(over[:BATCH], how, now, skip_held=True)
    return ended


@transaction.atomic
def let_go(device_id: UUID, now: datetime) -> None:
    """A device that is retired is controlled by nobody."""
    in_turn(f"control of {device_id}")
    open_ones = RemoteControlSession.every_tenant.open().filter(device=device_id)
    _end(open_ones, End.DEVICE, now)


def check_reachable(device: Device, *, even_offline: bool = False) -> None:
    """
    Raises:
        DeviceIsRetired, DeviceGetsNothing, DeviceIsOffline: it could not obey.
    """
    if device.status == Device.Status.RETIRED:
        raise DeviceIsRetired
    if device.quarantined_at is not None:
        raise DeviceGetsNothing
    if device.status != Device.Status.ONLINE and not even_offline:
        raise DeviceIsOffline


def _used(session: RemoteControlSession, now: datetime) -> bool:
    """Note that a session is used, unless it has ended this very moment."""
    session.last_used_at = now
    still = RemoteControlSession.objects.open().filter(pk=session.pk)
    return still.update(last_used_at=now) == 1


def _fresh(device: Device) -> Device:
    found: Device | None = Device.objects.filter(pk=device.pk).first()
    if found is None:
        raise NoSuchDevice
    return found


def _end(
    sessions: Iterable[RemoteControlSession],
    how: str,
    now: datetime,
    *,
    skip_held: bool = False,
) -> int:
    """End sessions, and what their controllers wanted that no device has yet.

    They are held and looked at again: one that has ended meanwhile ends once.
    """
    open_ones = RemoteControlSession.every_tenant.open().filter(
        pk__in=[session.pk for session in sessions]
    )
    held = open_ones.select_for_update(of=("self",), skip_locked=skip_held)
    ended = list(held.select_related("controller").order_by("device_id"))
    for session in ended:
        session.ended_at, session.end = now, how
    RemoteControlSession.every_tenant.bulk_update(ended, ["ended_at", "end"])
    record(
        RemoteControlEnded(
            tenant_id=session.tenant_id,
            device_id=session.device_id,
            at=now,
            session=str(session.pk),
            controller=session.controller.email,
            end=how,
        )
        for session in ended
    )
    if ended:
        command_expiry.cancel_gestures_of(ended, now=now)
    return len(ended)
