"""A device's side: it fetches its commands, and says what comes of them."""

import json
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import transaction

from devices.configurations.document_validation import unstorable
from devices.registry.models import Device
from devices.remote_control import queries
from devices.remote_control.command_types import TYPES
from devices.remote_control.errors import (
    CommandAnswered,
    CommandIsOver,
    InvalidAnswer,
    NoSuchCommand,
    SequenceAhead,
)
from devices.remote_control.models import CommandHistory, Status
from devices.remote_control.services import queues
from devices.remote_control.services.command_expiry import finish

MOST_AT_ONCE = 50  # commands in one answer; the device asks again
MOST_REASON = 500  # characters
MOST_RESULT = 8_000  # characters of JSON
LARGEST_SEQUENCE = 2**53 - 1  # what every JSON parser keeps exact
FURTHEST_AHEAD = 1_000_000  # commands that a restored back-up may have missed
PROGRESS = (Status.SENT, Status.DELIVERED, Status.RUNNING)
WAITING = (Status.QUEUED, Status.SENT)
ANSWERS = (Status.SUCCEEDED, Status.FAILED)
SAYABLE = (Status.DELIVERED, Status.RUNNING, *ANSWERS)
NOTED_AT = {
    Status.SENT: "sent_at",
    Status.DELIVERED: "delivered_at",
    Status.RUNNING: "started_at",
}


def fetch(*, device: Device, after: int, now: datetime) -> list[CommandHistory]:
    """The commands that a device has not seen, in their order.

    What was handed out and is not past `after` is handed out again: its answer may have
    been lost. What is past it has arrived.

    Args:
        after: the number of the last command that the device has seen.

    Raises:
        SequenceAhead: the device cannot have seen that many.
    """
    steps = getattr(device, "next_steps", None)
    if after > (steps.command_sequence if steps else 0):
        _catch_up(device, after)
    rows = queries.unseen(device.pk, after=after, now=now, limit=MOST_AT_ONCE)
    # What waits by the count that came with the credential, and is not among these, the
    # device has seen.
    waiting = sum(row.status in WAITING for row in rows)
    if after and (steps.commands_waiting if steps else 0) > waiting:
        _note_arrived(device, after, now)
    known = [row for row in rows if row.status != Status.QUEUED]
    if len(known) == len(rows):
        return rows
    handed_out = queries.hand_out(
        device.pk, after=after, up_to=rows[-1].sequence, now=now
    )
    if len(known) + len(handed_out) != len(rows):  # another fetch, or a newer command
        return queries.unseen(device.pk, after=after, now=now, limit=MOST_AT_ONCE)
    return sorted([*known, *handed_out], key=attrgetter("sequence"))


@transaction.atomic
def _note_arrived(device: Device, after: int, now: datetime) -> None:
    """What the device has seen is delivered; it does one after the other."""
    queues.hold([device.pk])
    seen = CommandHistory.objects.filter(
        device=device, sequence__lte=after, status=Status.SENT
    )
    at_once = [name for name, type_ in TYPES.items() if type_.waits_for is None]
    seen.filter(type__in=at_once).update(status=Status.DELIVERED, delivered_at=now)
    in_line, rows = timedelta(0), list(seen.order_by("sequence"))
    for row in rows:
        in_line += TYPES[row.type].answer_within
        _reach(row, Status.DELIVERED, now, in_line)
    _save(rows)
    queues.recount([device.pk])


@transaction.atomic
def _catch_up(device: Device, after: int) -> None:
    """The device has seen more than there ever was: we are a back-up, restored.

    It takes nothing that is not past what it has seen. So numbers go on from there, and
    what it cannot have seen gets new ones, the last first: no two are ever the same.

    Raises:
        SequenceAhead: more than any back-up is behind.
    """
    latest = queues.hold([device.pk]).get(device.pk, 0)
    if after > latest + FURTHEST_AHEAD:
        raise SequenceAhead
    if after <= latest:
        return  # there were others meanwhile
    queued = CommandHistory.objects.queued().filter(device=device)
    unseen = list(queued.order_by("sequence"))
    for number, row in reversed(list(enumerate(unseen, start=after + 1))):
        row.sequence = number
        row.save(update_fields=["sequence"])
    queues.set_sequence(device, after + len(unseen))


@transaction.atomic
def answer(
    *,
    device: Device,
    command_id: UUID,
    status: str,
    result: Any = None,
    reason: str = "",
    now: datetime,
) -> CommandHistory:
    """What a device says of one of its commands.

    The same said twice is said once; what comes late, that it has begun after that it
    is done, changes nothing.

    Raises:
        InvalidAnswer: a result without an end, or a failure without a reason.
        NoSuchCommand: it is none of this device's.
        CommandIsOver: it has expired, or was called back.
        CommandAnswered: the device has said something else before.
    """
    _check(status, result, reason)
    queues.hold([device.pk])
    mine = CommandHistory.objects.filter(pk=command_id, device=device)
    row: CommandHistory | None = mine.first()
    if row is None:
        raise NoSuchCommand
    present = row.status_at(now)
    if present in (Status.EXPIRED, Status.CANCELLED, Status.SUPERSEDED):
        raise CommandIsOver(present)
    if present in ANSWERS:
        return _again(row, status, result, reason)
    if status == Status.SUCCEEDED and row.type == "screenshot":
        raise InvalidAnswer("Put the picture where it belongs: that answers it.")
    if status in ANSWERS:
        _reach(row, Status.DELIVERED, now)
        finish([row], Status(status), result=result, reason=reason, now=now)
    elif _rank(status) > _rank(present):
        _reach(row, Status(status), now)
        _save([row])
    queues.recount([device.pk])
    return row


def _check(status: str, result: Any, reason: str) -> None:
    if status not in SAYABLE:
        raise InvalidAnswer(f"One of {', '.join(SAYABLE)}.", field="status")
    if status not in ANSWERS and result is not None:
        raise InvalidAnswer("Only with the end of it.", field="result")
    if status != Status.FAILED and reason:
        raise InvalidAnswer("Only of what has failed.", field="reason")
    if status == Status.FAILED and not reason:
        raise InvalidAnswer("Why has it failed?", field="reason")
    if result is None:
        return
    if found := unstorable(result):
        raise InvalidAnswer(found[0].sentence, field=f"result.{found[0].path}")
    if len(json.dumps(result)) > MOST_RESULT:
        raise InvalidAnswer(f"At most {MOST_RESULT:,} characters.", field="result")


def _again(
    row: CommandHistory, status: str, result: Any, reason: str
) -> CommandHistory:
    """What is said of a command that the device has answered already."""
    said = (status, result if result is not None else row.result, reason)
    if status in ANSWERS and said != (row.status, row.result, row.reason):
        raise CommandAnswered(row.status)
    return row


def _reach(
    row: CommandHistory, status: Status, now: datetime, within: timedelta | None = None
) -> None:
    """Go on to a status; the ones before it were reached as well."""
    for passed in PROGRESS:
        if _rank(passed) <= _rank(status) and getattr(row, NOTED_AT[passed]) is None:
            setattr(row, NOTED_AT[passed], now)
    row.status = status
    type_ = TYPES[row.type]
    if status != Status.SENT and type_.waits_for is not None:
        row.due_at = now + (within or type_.answer_within)


def _rank(status: str) -> int:
    return PROGRESS.index(Status(status)) if status in PROGRESS else -1


def _save(rows: list[CommandHistory]) -> None:
    CommandHistory.objects.bulk_update(rows, ["status", "due_at", *NOTED_AT.values()])
