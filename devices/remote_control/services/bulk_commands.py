"""Preview, request, confirm, process and cancel bulk commands."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, QuerySet

from core.errors import DomainError
from core.querysets import first_or_raise
from core.tasks import enqueue_on_commit
from devices.registry import device_filters
from devices.registry.models import Device
from devices.remote_control.command_types import TYPES, CommandType
from devices.remote_control.errors import (
    BulkCommandAlreadyDecided,
    GestureInBulk,
    NoDevicesFound,
    NoSuchBulkCommand,
    SecondPersonRequired,
)
from devices.remote_control.events import (
    BulkCommandConfirmed,
    BulkCommandEnded,
    BulkCommandRequested,
)
from devices.remote_control.models import BulkCommand, CommandHistory, RemoteControlSession
from devices.remote_control.services import issuing, policies, queues
from devices.remote_control.services.sessions import IDLE
from events.services.outbox import record
from tenants.context import tenant_scope
from tenants.fairness import random_tenant_first
from tenants.models import User

BATCH = 200  # devices per transaction
CONFIRMATION_TIMEOUT = timedelta(hours=1)

State = BulkCommand.State


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """How many devices a bulk command would reach.

    Attributes:
        controlled: devices that a member controls; the bulk command skips them.
    """

    found: int
    online: int
    controlled: int
    blast_radius: int

    @property
    def available(self) -> int:
        """Devices that the bulk command would not skip."""
        return self.found - self.controlled

    @property
    def needs_confirmation(self) -> bool:
        return self.found > self.blast_radius


def preview(
    *, type: str, parameters: Any, filter: Mapping[str, str], wait: timedelta | None, now: datetime
) -> Preview:
    """Check a bulk command and count its devices. Nothing is stored.

    Args:
        filter: the query parameters of `GET /devices`; empty matches every device.
        wait: how long each command may wait for an offline device; None uses the
            default of the command type.

    Raises:
        UnknownCommandType, InvalidParameters, InvalidDeadline, CommandNotAllowed,
        GestureInBulk: the command cannot be issued.
        InvalidFilter: the filter is invalid.
    """
    devices = targets(_checked_command(type, parameters, wait), filter, now=now)
    in_use = RemoteControlSession.objects.in_use(now - IDLE)
    return Preview(
        found=devices.count(),
        online=devices.filter(status=Device.Status.ONLINE).count(),
        controlled=in_use.filter(device__in=devices).count(),
        blast_radius=policies.of_tenant().blast_radius,
    )


@transaction.atomic
def request(
    *,
    type: str,
    parameters: Any,
    filter: Mapping[str, str],
    wait: timedelta | None = None,
    by: User,
    now: datetime,
) -> BulkCommand:
    """Request a bulk command.

    The bulk command starts at once, unless it reaches more devices than the policy's blast
    radius. In that case the bulk command waits until a second member confirms it.

    Args:
        filter, wait: see `preview`.

    Raises:
        NoDevicesFound: the filter matches no devices.
        UnknownCommandType, InvalidParameters, InvalidDeadline, CommandNotAllowed,
        GestureInBulk, InvalidFilter: see `preview`.
    """
    counts = preview(type=type, parameters=parameters, filter=filter, wait=wait, now=now)
    if not counts.found:
        raise NoDevicesFound
    bulk = BulkCommand.objects.create(
        type=type,
        parameters=parameters,
        filter=dict(filter),
        state=State.WAITING if counts.needs_confirmation else State.RUNNING,
        expires_at=now + issuing.validated_wait(TYPES[type], wait),
        found=counts.found,
        requested_by=by,
        requested_at=now,
        worked_at=now,
    )
    record(
        [
            BulkCommandRequested(
                **_event_fields(bulk, now), needs_confirmation=counts.needs_confirmation
            )
        ]
    )
    if not counts.needs_confirmation:
        _enqueue_on_commit()
    return bulk


@transaction.atomic
def confirm(*, bulk: BulkCommand, by: User, now: datetime) -> BulkCommand:
    """Confirm and start a bulk command that another member requested.

    Raises:
        SecondPersonRequired: `by` requested the bulk command.
        BulkCommandAlreadyDecided: the bulk command does not wait for confirmation.
        CommandNotAllowed: the policy no longer allows the command type.
    """
    row = _locked(bulk)
    if row.state != State.WAITING or row.requested_at + CONFIRMATION_TIMEOUT <= now:
        raise BulkCommandAlreadyDecided(state_at(row, now))
    if row.requested_by_id == by.pk:
        raise SecondPersonRequired
    issuing.allowed_type(row.type)
    # The requested wait counts from the confirmation, because no device could start
    # the command before.
    row.expires_at += now - row.requested_at
    row.state, row.confirmed_by = State.RUNNING, by
    row.save(update_fields=["state", "confirmed_by", "expires_at"])
    record([BulkCommandConfirmed(**_event_fields(row, now))])
    _enqueue_on_commit()
    return row


@transaction.atomic
def cancel(*, bulk: BulkCommand, now: datetime) -> BulkCommand:
    """Cancel a bulk command. Commands that were already issued are not cancelled.

    Raises:
        BulkCommandAlreadyDecided: the bulk command has ended.
    """
    row = _locked(bulk)
    if row.state not in (State.WAITING, State.RUNNING):
        raise BulkCommandAlreadyDecided(row.state)
    _finish(row, State.CANCELLED, now)
    return row


def process_next_batch(*, now: datetime) -> bool:
    """Issue the next batch of commands of one running bulk command.

    Each batch is one transaction. The transaction also stores the id of the last device of
    the batch. If a process is killed, no batch is half done, and no device gets the command
    twice.

    Returns:
        False if no bulk command is running.
    """
    with transaction.atomic():
        running = BulkCommand.every_tenant.running().order_by(random_tenant_first(), "worked_at")
        row = running.select_for_update(skip_locked=True).first()
        if row is None:
            return False
        _next_batch(row, now)
        return True


def any_running() -> bool:
    """Return True if any tenant's bulk command is running."""
    return BulkCommand.every_tenant.running().exists()


@transaction.atomic
def lapse_unconfirmed(*, now: datetime) -> int:
    """End bulk commands that were not confirmed in time. Return their number."""
    waiting = BulkCommand.every_tenant.waiting().filter(
        requested_at__lte=now - CONFIRMATION_TIMEOUT
    )
    rows = list(waiting.select_for_update(skip_locked=True)[:BATCH])
    for row in rows:
        _finish(row, State.LAPSED, now)
    return len(rows)


def outcomes(bulk: BulkCommand) -> dict[str, int]:
    """Return how many commands of a bulk command have each status."""
    rows = CommandHistory.objects.filter(bulk=bulk).order_by().values("status")
    return dict(rows.annotate(count=Count("pk")).values_list("status", "count"))


def targets(type_: CommandType, filter: Mapping[str, str], *, now: datetime) -> QuerySet[Device]:
    """Return the current tenant's devices that a bulk command may reach.

    Devices in quarantine are left out. Offline devices are left out if the command type
    does not wait for them.

    Raises:
        InvalidFilter: the filter is invalid.
    """
    devices = device_filters.select(filter, now=now).filter(quarantined_at__isnull=True)
    if type_.default_wait is None:
        devices = devices.filter(status=Device.Status.ONLINE)
    return devices.order_by("pk")


def _next_batch(row: BulkCommand, now: datetime) -> None:
    """Issue the commands of the next batch of devices of a bulk command.

    The devices were counted when the bulk command was requested. The total number of
    commands never exceeds this number, even if the filter matches more devices by now.
    """
    with tenant_scope(row.tenant_id):
        remaining = row.found - row.done - row.left_out
        ids = _next_devices(row, min(BATCH, remaining), now)
        if not ids:
            _finish(row, State.FINISHED, now)
            return
        in_use = RemoteControlSession.objects.in_use(now - IDLE)
        controlled = set(in_use.filter(device__in=ids).values_list("device_id", flat=True))
        sequences = queues.advance([pk for pk in ids if pk not in controlled])
        # Read the devices while their queues are locked, so that devices retired
        # meanwhile are skipped.
        reachable = Device.objects.not_retired().filter(quarantined_at__isnull=True)
        commanded = set(reachable.filter(pk__in=sequences).values_list("pk", flat=True))
        order = issuing.CommandOrder(
            type_=TYPES[row.type],
            parameters=row.parameters,
            issued_by=row.requested_by.email,
            issued_at=now,
            expires_at=row.expires_at,
            bulk=row,
        )
        issuing.create_commands(
            order, {pk: number for pk, number in sequences.items() if pk in commanded}
        )
        if skipped := sequences.keys() - commanded:
            queues.recount(skipped)
        row.position, row.worked_at = ids[-1], now
        row.done += len(commanded)
        row.left_out += len(ids) - len(commanded)
        row.save(update_fields=["position", "worked_at", "done", "left_out"])
        if len(ids) < BATCH:
            _finish(row, State.FINISHED, now)


def _next_devices(row: BulkCommand, limit: int, now: datetime) -> list[UUID]:
    """Return the ids of the next devices of a bulk command.

    The list is empty if the deadline has passed or the command is no longer allowed.
    Devices registered after the request are left out.
    """
    if row.expires_at <= now or limit <= 0:
        return []
    try:
        devices = targets(issuing.allowed_type(row.type), row.filter, now=now)
    except DomainError:
        return []  # the policy or the available filters have changed
    devices = devices.filter(registered_at__lte=row.requested_at)
    if row.position is not None:
        devices = devices.filter(pk__gt=row.position)
    return list(devices.values_list("pk", flat=True)[:limit])


def _checked_command(type: str, parameters: Any, wait: timedelta | None) -> CommandType:
    type_ = issuing.allowed_type(type)
    issuing.validated_wait(type_, wait)
    issuing.check_parameters(type_, parameters, screen=None)
    if type_.is_gesture:
        raise GestureInBulk(
            "Gestures cannot be sent to many devices. Choose another command type.", field="type"
        )
    return type_


def _locked(bulk: BulkCommand) -> BulkCommand:
    rows = BulkCommand.objects.select_for_update(of=("self",)).filter(pk=bulk.pk)
    return first_or_raise(rows, NoSuchBulkCommand)


def _finish(row: BulkCommand, state: str, now: datetime) -> None:
    row.state, row.ended_at = state, now
    row.save(update_fields=["state", "ended_at"])
    record(
        [
            BulkCommandEnded(
                **_event_fields(row, now), state=state, done=row.done, left_out=row.left_out
            )
        ]
    )


def state_at(row: BulkCommand, now: datetime) -> str:
    """Return the state of a bulk command. It is `lapsed` if it was not confirmed in time."""
    deadline = row.requested_at + CONFIRMATION_TIMEOUT
    is_lapsed = row.state == State.WAITING and deadline <= now
    return State.LAPSED.value if is_lapsed else row.state


def _event_fields(row: BulkCommand, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "at": now,
        "bulk": str(row.pk),
        "type": row.type,
        "found": row.found,
    }


def _enqueue_on_commit() -> None:
    enqueue_on_commit("devices.remote_control.tasks.run_bulk_commands", expires=55)
