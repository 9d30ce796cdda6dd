"""Check commands, add commands to the queues of devices, and notify the devices."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from devices.registry.models import Device
from devices.remote_control.command_types import MAX_WAIT, TYPES, CommandType, parameter_errors
from devices.remote_control.errors import (
    CommandNotAllowed,
    InvalidDeadline,
    InvalidParameters,
    UnknownCommandType,
)
from devices.remote_control.events import CommandIssued
from devices.remote_control.models import BulkCommand, CommandHistory, RemoteControlSession, Status
from devices.remote_control.services import (
    policies,
    push_notifications,
    queues,
    screen_size,
    sessions,
)
from devices.remote_control.services.command_expiry import finish
from events.services.outbox import record
from tenants.models import User


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOrder:
    """A checked command that can be issued to several devices."""

    type_: CommandType
    parameters: dict[str, Any]
    issued_by: str
    issued_at: datetime
    expires_at: datetime
    session: RemoteControlSession | None = None
    bulk: BulkCommand | None = None
    is_scheduled: bool = False  # such a command has no event


@transaction.atomic
def issue(
    *,
    device: Device,
    type: str,
    parameters: Any,
    by: User,
    session_id: UUID | None = None,
    wait: timedelta | None = None,
    now: datetime,
) -> CommandHistory:
    """Issue a command to one device.

    Args:
        session_id: the session in which the client issues the command; None accepts any
            session of the member.
        wait: how long the command may wait for an offline device; None uses the
            default of the command type.

    Raises:
        UnknownCommandType, InvalidParameters, InvalidDeadline: the command is invalid.
        CommandNotAllowed: the tenant's policy does not allow the type.
        DeviceIsRetired, DeviceIsQuarantined, DeviceIsOffline: the device cannot
            receive the command.
        DeviceIsControlled, SessionRequired, SessionEnded: `by` does not control the
            device.
        DeviceIsInMaintenance: the command cannot wait, and a maintenance window holds it.
    """
    type_ = allowed_type(type)
    expires_at = now + validated_wait(type_, wait)
    check_parameters(type_, parameters, screen=screen_size.size_of(device))
    if type_.default_wait is None:
        sessions.check_maintenance(device, now=now)
    session = sessions.touch(
        device=device, by=by, session_id=session_id, is_required=type_.is_gesture, now=now
    )
    order = CommandOrder(
        type_=type_,
        parameters=parameters,
        issued_by=by.email,
        issued_at=now,
        expires_at=expires_at,
        session=session,
    )
    sequences = queues.advance([device.pk])
    # Read the device while its queue is locked: a concurrent retirement has either
    # committed already or waits for the lock.
    sessions.check_reachable(
        Device.objects.get(pk=device.pk), allow_offline=type_.default_wait is not None
    )
    return create_commands(order, sequences)[0]


def create_commands(order: CommandOrder, sequences: dict[UUID, int]) -> list[CommandHistory]:
    """Create a command for each device. When the transaction commits, notify the devices.

    Args:
        sequences: the new sequence number of each device. The queues must be locked.
    """
    if order.type_.replaces_waiting:
        older = CommandHistory.objects.queued().filter(device__in=sequences, type=order.type_.name)
        reason = "A newer command of the same type replaced it."
        finish(list(older), Status.SUPERSEDED, reason=reason, now=order.issued_at)
    rows = CommandHistory.objects.bulk_create(
        CommandHistory(
            device_id=device_id,
            sequence=sequence,
            type=order.type_.name,
            parameters=order.parameters,
            session=order.session,
            bulk=order.bulk,
            issued_by=order.issued_by,
            issued_at=order.issued_at,
            expires_at=order.expires_at,
            due_at=order.expires_at,
        )
        for device_id, sequence in sequences.items()
    )
    queues.recount(sequences)
    if order.bulk is None and not order.type_.is_gesture and not order.is_scheduled:
        record(_issued_event(row) for row in rows)
    push_notifications.notify_commands(sequences)
    return rows


def allowed_type(name: str) -> CommandType:
    """Return the command type with this name, if the tenant's policy allows it.

    Raises:
        UnknownCommandType: the type does not exist.
        CommandNotAllowed: the tenant's policy does not allow it.
    """
    type_ = TYPES.get(name)
    if type_ is None:
        raise UnknownCommandType
    if name not in policies.of_tenant().allowed_types:
        raise CommandNotAllowed
    return type_


def validated_wait(type_: CommandType, wait: timedelta | None) -> timedelta:
    """Return how long a command may wait before the device starts it.

    Args:
        wait: the requested time; None returns the default of the type.

    Raises:
        InvalidDeadline: the time is out of range, or this type does not wait.
    """
    if wait is None:
        return type_.default_wait or type_.answer_within
    if type_.default_wait is None:
        raise InvalidDeadline(
            "This command type does not wait for offline devices. Omit wait_seconds.",
            field="wait_seconds",
        )
    minimum, maximum = type_.answer_within, MAX_WAIT
    if not minimum <= wait <= maximum:
        raise InvalidDeadline(
            f"Must be from {minimum.total_seconds():.0f} to {maximum.total_seconds():.0f} seconds.",
            field="wait_seconds",
        )
    return wait


def check_parameters(
    type_: CommandType, parameters: Any, *, screen: tuple[int, int] | None
) -> None:
    """Check the parameters of a command.

    Args:
        screen: width and height of the screen in pixels; None if unknown.

    Raises:
        InvalidParameters: the parameters are invalid; `details` lists every error.
    """
    if errors := parameter_errors(type_, parameters, screen=screen):
        raise InvalidParameters(errors)


def _issued_event(row: CommandHistory) -> CommandIssued:
    return CommandIssued(
        tenant_id=row.tenant_id,
        device_id=row.device_id,
        at=row.issued_at,
        command=str(row.pk),
        type=row.type,
        sequence=row.sequence,
    )
