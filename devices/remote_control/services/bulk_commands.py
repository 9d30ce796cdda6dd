"""One command to every device that a filter finds: counted, confirmed, worked through."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, QuerySet

from core.errors import DomainError
from core.tasks import enqueue_on_commit
from devices.registry import device_filters
from devices.registry.models import Device
from devices.remote_control.command_types import TYPES, CommandType
from devices.remote_control.errors import (
    BulkCommandDecided,
    GestureToMany,
    NobodyFound,
    NoSuchBulkCommand,
    SecondPersonNeeded,
)
from devices.remote_control.events import (
    BulkCommandConfirmed,
    BulkCommandEnded,
    BulkCommandRequested,
)
from devices.remote_control.models import (
    BulkCommand,
    CommandHistory,
    RemoteControlSession,
)
from devices.remote_control.services import issuing, policies, queues
from devices.remote_control.services.sessions import IDLE
from events.services.outbox import record
from tenants.context import tenant_scope
from tenants.models import User

BATCH = 200  # devices in one transaction
GOOD_FOR = timedelta(hours=1)  # for a second person to confirm it

State = BulkCommand.State


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a bulk command would come to."""

    found: int
    online: int
    controlled: int  # somebody has them: they would be left out
    blast_radius: int

    @property
    def free(self) -> int:
        return self.found - self.controlled

    @property
    def needs_confirmation(self) -> bool:
        return self.found > self.blast_radius


def preview(
    *,
    type: str,
    parameters: Any,
    filter: Mapping[str, str],
    wait: timedelta | None,
    now: datetime,
) -> Preview:
    """Check a bulk command and count its devices; nothing is changed.

    Raises:
        UnknownCommandType, InvalidParameters, InvalidDeadline, CommandNotAllowed: it
            could not be issued.
        InvalidFilter: the filter is none.
    """
    devices = targets(_checked(type, parameters, wait), filter, now=now)
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
    """Command many devices; more than the blast radius when a second person confirms.

    Raises:
        NobodyFound: the filter finds no device.
        UnknownCommandType, InvalidParameters, InvalidDeadline, CommandNotAllowed,
        InvalidFilter: see `preview`.
    """
    told = preview(type=type, parameters=parameters, filter=filter, wait=wait, now=now)
    if not told.found:
        raise NobodyFound
    bulk = BulkCommand.objects.create(
        type=type,
        parameters=parameters,
        filter=dict(filter),
        state=State.WAITING if told.needs_confirmation else State.RUNNING,
        expires_at=now + issuing.checked_wait(TYPES[type], wait),
        found=told.found,
        requested_by=by,
        requested_at=now,
        worked_at=now,
    )
    record(
        [
            BulkCommandRequested(
                **_about(bulk, now), needs_confirmation=told.needs_confirmation
            )
        ]
    )
    if not told.needs_confirmation:
        _start_work_on_commit()
    return bulk


@transaction.atomic
def confirm(*, bulk: BulkCommand, by: User, now: datetime) -> BulkCommand:
    """Let a bulk command go out that somebody else has asked for.

    Raises:
        SecondPersonNeeded: it is one's own.
        BulkCommandDecided: it waits for nobody any more.
        CommandNotAllowed: the policy has changed meanwhile.
    """
    row = _held(bulk)
    if row.state != State.WAITING or row.requested_at + GOOD_FOR <= now:
        raise BulkCommandDecided(state_at(row, now))
    if row.requested_by_id == by.pk:
        raise SecondPersonNeeded
    issuing.checked_type(row.type)
    # The time that was asked for counts from now: nobody could begin before.
    row.expires_at += now - row.requested_at
    row.state, row.confirmed_by = State.RUNNING, by
    row.save(update_fields=["state", "confirmed_by", "expires_at"])
    record([BulkCommandConfirmed(**_about(row, now))])
    _start_work_on_commit()
    return row


@transaction.atomic
def cancel(*, bulk: BulkCommand, now: datetime) -> BulkCommand:
    """Stop a bulk command: devices that have not been reached are not commanded.

    Raises:
        BulkCommandDecided: it is over.
    """
    row = _held(bulk)
    if row.state not in (State.WAITING, State.RUNNING):
        raise BulkCommandDecided(row.state)
    _finish(row, State.CANCELLED, now)
    return row


def work(*, now: datetime) -> bool:
    """Command the next devices of one running bulk command; whether there was any.

    Each batch is a transaction with its place among the ids, so whoever is killed in
    the middle leaves nothing half done, and nobody is commanded twice.
    """
    with transaction.atomic():
        running = BulkCommand.every_tenant.running().order_by("worked_at")
        row: BulkCommand | None = running.select_for_update(skip_locked=True).first()
        if row is None:
            return False
        _next_batch(row, now)
        return True


def is_running() -> bool:
    """Whether there is work."""
    return BulkCommand.every_tenant.running().exists()


@transaction.atomic
def lapse(*, now: datetime) -> int:
    """End what nobody has confirmed in time; return how many."""
    waiting = BulkCommand.every_tenant.waiting().filter(
        requested_at__lte=now - GOOD_FOR
    )
    rows = list(waiting.select_for_update(skip_locked=True)[:BATCH])
    for row in rows:
        _finish(row, State.LAPSED, now)
    return len(rows)


def outcomes(bulk: BulkCommand) -> dict[str, int]:
    """How many of its commands are in each status."""
    rows = CommandHistory.objects.filter(bulk=bulk).order_by().values("status")
    return dict(rows.annotate(count=Count("pk")).values_list("status", "count"))


def targets(
    type_: CommandType, filter: Mapping[str, str], *, now: datetime
) -> QuerySet[Device]:
    """The current tenant's devices that a filter finds and that may obey.

    What does not wait is nothing for a device that is offline.

    Raises:
        InvalidFilter: the filter is none.
    """
    devices = device_filters.select(filter, now=now).filter(quarantined_at__isnull=True)
    if type_.waits_for is None:
        devices = devices.filter(status=Device.Status.ONLINE)
    return devices.order_by("pk")


def _next_batch(row: BulkCommand, now: datetime) -> None:
    """Never to more devices than were counted, whatever the filter finds meanwhile."""
    with tenant_scope(row.tenant_id):
        left = row.found - row.done - row.left_out
        ids = _next_devices(row, min(BATCH, left), now)
        if not ids:
            _finish(row, State.FINISHED, now)
            return
        in_use = RemoteControlSession.objects.in_use(now - IDLE)
        theirs = in_use.filter(device__in=ids)
        controlled = set(theirs.values_list("device_id", flat=True))
        numbers = queues.advance([pk for pk in ids if pk not in controlled])
        # Read now that the queues are held: who was retired meanwhile is told nothing.
        reachable = Device.objects.living().filter(quarantined_at__isnull=True)
        living = set(reachable.filter(pk__in=numbers).values_list("pk", flat=True))
        order = issuing.Order(
            type_=TYPES[row.type],
            parameters=row.parameters,
            issued_by=row.requested_by.email,
            issued_at=now,
            expires_at=row.expires_at,
            bulk=row,
        )
        issuing.put(
            order, {pk: number for pk, number in numbers.items() if pk in living}
        )
        if gone := numbers.keys() - living:
            queues.recount(gone)
        row.position, row.worked_at = ids[-1], now
        row.done += len(living)
        row.left_out += len(ids) - len(living)
        row.save(update_fields=["position", "worked_at", "done", "left_out"])
        if len(ids) < BATCH:
            _finish(row, State.FINISHED, now)


def _next_devices(row: BulkCommand, limit: int, now: datetime) -> list[UUID]:
    """The devices that come next; none when it is over, or may not be done any more.

    Who came in after they were counted is not among them.
    """
    if row.expires_at <= now or limit <= 0:
        return []
    try:
        devices = targets(issuing.checked_type(row.type), row.filter, now=now)
    except DomainError:
        return []  # the tenant's policy, or what filters there are, has changed
    devices = devices.filter(registered_at__lte=row.requested_at)
    if row.position is not None:
        devices = devices.filter(pk__gt=row.position)
    return list(devices.values_list("pk", flat=True)[:limit])


def _checked(type: str, parameters: Any, wait: timedelta | None) -> CommandType:
    type_ = issuing.checked_type(type)
    issuing.checked_wait(type_, wait)
    issuing.check_parameters(type_, parameters, screen=None)
    if type_.is_gesture:
        sentence = "A gesture is for one screen that somebody looks at."
        raise GestureToMany(sentence, field="type")
    return type_


def _held(bulk: BulkCommand) -> BulkCommand:
    rows = BulkCommand.objects.select_for_update(of=("self",)).filter(pk=bulk.pk)
    row: BulkCommand | None = rows.first()
    if row is None:
        raise NoSuchBulkCommand
    return row


def _finish(row: BulkCommand, state: str, now: datetime) -> None:
    row.state, row.ended_at = state, now
    row.save(update_fields=["state", "ended_at"])
    told: dict[str, Any] = {"state": state, "done": row.done, "left_out": row.left_out}
    record([BulkCommandEnded(**_about(row, now), **told)])


def state_at(row: BulkCommand, now: datetime) -> str:
    """The state by the clock: what nobody confirmed in time has lapsed, noted or not."""
    is_late = row.state == State.WAITING and row.requested_at + GOOD_FOR <= now
    return State.LAPSED.value if is_late else row.state


def _about(row: BulkCommand, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "at": now,
        "bulk": str(row.pk),
        "type": row.type,
        "found": row.found,
    }


def _start_work_on_commit() -> None:
    enqueue_on_commit("devices.remote_control.tasks.run_bulk_commands", expires=55)
