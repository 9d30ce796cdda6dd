"""Commands to devices: checked, numbered, written, and the devices woken."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from devices.registry.models import Device
from devices.remote_control.command_types import (
    LONGEST_DEADLINE,
    TYPES,
    CommandType,
    faults,
)
from devices.remote_control.errors import (
    CommandNotAllowed,
    InvalidDeadline,
    InvalidParameters,
    UnknownCommandType,
)
from devices.remote_control.events import CommandIssued
from devices.remote_control.models import (
    BulkCommand,
    CommandHistory,
    RemoteControlSession,
    Status,
)
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
class Order:
    """What is to be done, checked and with its time; to whom is another question."""

    type_: CommandType
    parameters: dict[str, Any]
    issued_by: str
    issued_at: datetime
    expires_at: datetime
    session: RemoteControlSession | None = None
    bulk: BulkCommand | None = None


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
    """Command one device.

    Args:
        session_id: the session that the controller believes to have.
        wait: how long the command may wait for a device that is offline.

    Raises:
        UnknownCommandType, InvalidParameters, InvalidDeadline: it cannot be done.
        CommandNotAllowed: the tenant's policy leaves the type out.
        DeviceIsRetired, DeviceGetsNothing, DeviceIsOffline: the device could not obey.
        DeviceIsControlled, SessionNeeded, SessionEnded: it is not for `by` to command.
    """
    type_ = checked_type(type)
    expires_at = now + checked_wait(type_, wait)
    check_parameters(type_, parameters, screen=screen_size.size_of(device))
    session = sessions.use(
        device=device,
        by=by,
        session_id=session_id,
        is_needed=type_.is_gesture,
        now=now,
    )
    order = Order(
        type_=type_,
        parameters=parameters,
        issued_by=by.email,
        issued_at=now,
        expires_at=expires_at,
        session=session,
    )
    sequences = queues.advance([device.pk])
    # Read now that its queue is held: a retirement waits for us, or was before us.
    sessions.check_reachable(
        Device.objects.get(pk=device.pk), even_offline=type_.waits_for is not None
    )
    return put(order, sequences)[0]


def put(order: Order, sequences: dict[UUID, int]) -> list[CommandHistory]:
    """Write a command for each of some devices, whose queues are held, and wake them."""
    if order.type_.replaces_waiting:
        older = CommandHistory.objects.queued().filter(
            device__in=sequences, type=order.type_.name
        )
        reason = "A newer one takes its place."
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
    if order.bulk is None and not order.type_.is_gesture:
        record(_issued(row) for row in rows)
    push_notifications.wake(sequences)
    return rows


def checked_type(name: str) -> CommandType:
    """
    Raises:
        UnknownCommandType: there is none of this name.
        CommandNotAllowed: the tenant's policy leaves it out.
    """
    type_ = TYPES.get(name)
    if type_ is None:
        raise UnknownCommandType
    if name not in policies.of_tenant().allowed_types:
        raise CommandNotAllowed
    return type_


def checked_wait(type_: CommandType, wait: timedelta | None) -> timedelta:
    """How long a command may wait until it is begun.

    Raises:
        InvalidDeadline: not as long as that, or this type does not wait.
    """
    if wait is None:
        return type_.waits_for or type_.answer_within
    if type_.waits_for is None:
        raise InvalidDeadline("This type does not wait.", field="wait_seconds")
    if not type_.answer_within <= wait <= LONGEST_DEADLINE:
        least, most = type_.answer_within, LONGEST_DEADLINE
        raise InvalidDeadline(
            f"From {least.total_seconds():.0f} to {most.total_seconds():.0f} seconds.",
            field="wait_seconds",
        )
    return wait


def check_parameters(
    type_: CommandType, parameters: Any, *, screen: tuple[int, int] | None
) -> None:
    """
    Raises:
        InvalidParameters: each fault with its place.
    """
    if found := faults(type_, parameters, screen=screen):
        raise InvalidParameters(found)


def _issued(row: CommandHistory) -> CommandIssued:
    return CommandIssued(
        tenant_id=row.tenant_id,
        device_id=row.device_id,
        at=row.issued_at,
        command=str(row.pk),
        type=row.type,
        sequence=row.sequence,
    )
