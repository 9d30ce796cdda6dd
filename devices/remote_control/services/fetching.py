"""Let devices fetch and answer their commands."""

import json
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import transaction

from core.querysets import first_or_raise
from devices.configurations.document_validation import find_storage_faults
from devices.maintenance.services import open_windows
from devices.registry.models import Device
from devices.remote_control import queries
from devices.remote_control.command_types import TYPES
from devices.remote_control.errors import (
    CommandAlreadyAnswered,
    CommandIsClosed,
    InvalidAnswer,
    NoSuchCommand,
    SequenceAhead,
)
from devices.remote_control.models import CommandHistory, Status
from devices.remote_control.services import queues
from devices.remote_control.services.command_expiry import finish

MAX_COMMANDS = 50  # in one response; the device fetches again for more
NO_REASON = "The device has given no reason."
MAX_REASON_LENGTH = 500  # characters
MAX_RESULT_LENGTH = 8_000  # characters of JSON
MAX_SEQUENCE = 2**53 - 1  # the largest integer that every JSON parser keeps exact
MAX_SEQUENCE_GAP = 1_000_000  # commands that may be missing from a restored backup
PROGRESS = (Status.SENT, Status.DELIVERED, Status.RUNNING)
WAITING = (Status.QUEUED, Status.SENT)
FINAL_ANSWERS = (Status.SUCCEEDED, Status.FAILED)
ANSWERS = (Status.DELIVERED, Status.RUNNING, *FINAL_ANSWERS)
TIME_FIELDS = {
    Status.SENT: "sent_at",
    Status.DELIVERED: "delivered_at",
    Status.RUNNING: "started_at",
}


def fetch(*, device: Device, after: int, now: datetime) -> list[CommandHistory]:
    """Return the commands that a device has not seen, ordered by sequence number.

    Commands with a number above `after` are returned again even if they were sent
    before, because the earlier response may have been lost. Commands up to `after` are marked
    as delivered. During a maintenance window that holds commands, queued commands are kept; the
    device asks for them again when it connects.

    Args:
        after: the sequence number of the last command that the device has seen.

    Raises:
        SequenceAhead: `after` is far above the last number issued to the device.
    """
    steps = getattr(device, "next_steps", None)
    if after > (steps.command_sequence if steps else 0):
        _raise_sequence(device, after)
    rows = queries.open_commands(device.pk, after=after, now=now, limit=MAX_COMMANDS)
    # The count of waiting commands was read together with the device's credential. If the
    # count is higher than the number of rows, the device has seen some waiting commands.
    waiting = sum(row.status in WAITING for row in rows)
    if after and (steps.commands_waiting if steps else 0) > waiting:
        _mark_delivered(device, after, now)
    already_sent = [row for row in rows if row.status != Status.QUEUED]
    if len(already_sent) == len(rows):
        return rows
    if open_windows.holding_commands(device, now=now) is not None:
        return already_sent
    newly_sent = queries.mark_sent(device.pk, after=after, up_to=rows[-1].sequence, now=now)
    if len(already_sent) + len(newly_sent) != len(rows):
        # Another fetch has sent some of these rows, or a newer command superseded them.
        return queries.open_commands(device.pk, after=after, now=now, limit=MAX_COMMANDS)
    return sorted([*already_sent, *newly_sent], key=attrgetter("sequence"))


@transaction.atomic
def _mark_delivered(device: Device, after: int, now: datetime) -> None:
    """Mark the commands that the device has seen as delivered.

    The device runs commands one after the other. Therefore the due time of a command
    includes the time that the commands before it may take.
    """
    queues.lock([device.pk])
    received = CommandHistory.objects.filter(device=device, sequence__lte=after, status=Status.SENT)
    immediate = [name for name, type_ in TYPES.items() if type_.default_wait is None]
    received.filter(type__in=immediate).update(status=Status.DELIVERED, delivered_at=now)
    answer_within, rows = timedelta(0), list(received.order_by("sequence"))
    for row in rows:
        answer_within += TYPES[row.type].answer_within
        _advance(row, Status.DELIVERED, now, answer_within)
    _save(rows)
    queues.recount([device.pk])


@transaction.atomic
def _raise_sequence(device: Device, after: int) -> None:
    """Continue the sequence numbers of a device above `after`, the last number it has seen.

    If a device has seen a higher number than the database contains, the database was
    restored from a backup. The device ignores commands up to the number it has seen, so
    queued commands get new numbers above that number. The commands are renumbered from the
    last to the first, so that no two commands ever have the same number.

    Raises:
        SequenceAhead: `after` is further ahead than a restored backup can explain.
    """
    latest = queues.lock([device.pk]).get(device.pk, 0)
    if after > latest + MAX_SEQUENCE_GAP:
        raise SequenceAhead
    if after <= latest:
        return  # new commands were issued meanwhile
    queued = CommandHistory.objects.queued().filter(device=device)
    rows = list(queued.order_by("sequence"))
    for number, row in reversed(list(enumerate(rows, start=after + 1))):
        row.sequence = number
        row.save(update_fields=["sequence"])
    queues.set_sequence(device, after + len(rows))


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
    """Store a device's answer to one of its commands.

    Sending the same answer twice has no further effect. Answers that arrive out of
    order, such as `running` after `succeeded`, change nothing.

    Args:
        status: `delivered`, `running`, `succeeded` or `failed`.
        result: JSON, used with `succeeded` and `failed` only, if it can be stored.
        reason: why the command failed; used with `failed` only.

    Raises:
        InvalidAnswer: the status is invalid, or a screenshot has not been uploaded.
        NoSuchCommand: the device has no such command.
        CommandIsClosed: the command expired, was cancelled or was superseded.
        CommandAlreadyAnswered: the device has sent a different final answer before.
    """
    result, reason = _usable_answer(status, result, reason)
    queues.lock([device.pk])
    rows = CommandHistory.objects.filter(pk=command_id, device=device)
    row = first_or_raise(rows, NoSuchCommand)
    current_status = row.status_at(now)
    if current_status in (Status.EXPIRED, Status.CANCELLED, Status.SUPERSEDED):
        raise CommandIsClosed(current_status)
    if current_status in FINAL_ANSWERS:
        return _repeated(row, status, result)
    if status == Status.SUCCEEDED and row.type == "screenshot":
        raise InvalidAnswer("Upload the screenshot to upload_url, which completes the command.")
    if status in FINAL_ANSWERS:
        _advance(row, Status.DELIVERED, now)
        finish([row], Status(status), result=result, reason=reason, now=now)
    elif _rank(status) > _rank(current_status):
        _advance(row, Status(status), now)
        _save([row])
    queues.recount([device.pk])
    return row


def _usable_answer(status: str, result: Any, reason: str) -> tuple[Any, str]:
    """Return the result and the reason as they are stored. A final status always counts.

    Raises:
        InvalidAnswer: the status is invalid.
    """
    if status not in ANSWERS:
        raise InvalidAnswer(f"Must be one of {', '.join(ANSWERS)}.", field="status")
    if status not in FINAL_ANSWERS:
        return None, ""
    is_storable = result is not None and not find_storage_faults(result)
    if not is_storable or len(json.dumps(result)) > MAX_RESULT_LENGTH:
        result = None
    return result, (reason or NO_REASON) if status == Status.FAILED else ""


def _repeated(row: CommandHistory, status: str, result: Any) -> CommandHistory:
    """Accept a repeated answer to a command that has a final answer already.

    The first answer is kept. The reason of a failure may be written differently each time, as a
    stack trace is.

    Raises:
        CommandAlreadyAnswered: the final answer differs from the stored answer.
    """
    repeated = (status, result if result is not None else row.result)
    if status in FINAL_ANSWERS and repeated != (row.status, row.result):
        raise CommandAlreadyAnswered(row.status)
    return row


def _advance(
    row: CommandHistory, status: Status, now: datetime, within: timedelta | None = None
) -> None:
    """Set the status of a command. Set the times of this and earlier statuses if missing."""
    for step in PROGRESS:
        if _rank(step) <= _rank(status) and getattr(row, TIME_FIELDS[step]) is None:
            setattr(row, TIME_FIELDS[step], now)
    row.status = status
    type_ = TYPES[row.type]
    if status != Status.SENT and type_.default_wait is not None:
        row.due_at = now + (within or type_.answer_within)


def _rank(status: str) -> int:
    return PROGRESS.index(Status(status)) if status in PROGRESS else -1


def _save(rows: list[CommandHistory]) -> None:
    CommandHistory.objects.bulk_update(rows, ["status", "due_at", *TIME_FIELDS.values()])
