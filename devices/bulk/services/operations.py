"""Preview, start, continue, cancel and undo bulk operations."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from core.errors import DomainError
from core.querysets import first_or_raise
from core.tasks import enqueue_on_commit
from devices.bulk.actions import BulkAction, Done, Outcome
from devices.bulk.catalog import action_named, all_actions
from devices.bulk.errors import CannotUndo, NoSuchOperation, NothingSelected, OperationStateConflict
from devices.bulk.events import BulkOperationEnded, BulkOperationStarted
from devices.bulk.models import BulkOperation, BulkResult
from devices.registry import device_filters
from devices.registry.models import Device
from events.services.outbox import record
from tenants.context import SYSTEM, Caller, caller_scope, tenant_scope
from tenants.fairness import random_tenant_first
from tenants.models import User

EXAMPLES = 20
KEPT = timedelta(days=30)
DELETED_PER_RUN = 50  # operations
CHUNK = 20_000  # results that are deleted together
MAX_CHUNKS = 50  # in one run
MAX_FAILURES = 3  # of an operation, by unexpected errors
TASK = "devices.bulk.tasks.run_bulk_operations"

State = BulkOperation.State
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preview:
    """The devices that an operation would go through."""

    found: int
    examples: list[Device]


def preview(
    *, action: str, parameters: Mapping[str, Any], filter: Mapping[str, str], now: datetime
) -> Preview:
    """Check an operation and count its devices. Nothing is stored.

    Args:
        filter: the query parameters of `GET /devices`; empty matches every device.

    Raises:
        UnknownAction, InvalidParameters, InvalidSite: the action cannot be run.
        InvalidFilter: the filter is invalid.
    """
    action_named(action).validated(parameters)
    return select(filter, now=now)


def select(filter: Mapping[str, str], *, now: datetime) -> Preview:
    """Count the devices that a filter selects.

    Raises:
        InvalidFilter: the filter is invalid.
    """
    devices = device_filters.select(filter, now=now)
    return Preview(devices.count(), list(devices.order_by("name", "pk")[:EXAMPLES]))


@transaction.atomic
def start(
    *,
    action: str,
    parameters: Mapping[str, Any],
    filter: Mapping[str, str],
    by: User | None,
    now: datetime,
) -> BulkOperation:
    """Start an action on all devices that match a filter. A worker runs it.

    Raises:
        NothingSelected: no device matches.
        UnknownAction, InvalidParameters, InvalidSite, InvalidFilter: see `preview`.
    """
    stored = action_named(action).validated(parameters)
    found = device_filters.select(filter, now=now).count()
    if not found:
        raise NothingSelected
    return _create(
        action=action, parameters=stored, filter=dict(filter), found=found, by=by, now=now
    )


@transaction.atomic
def undo(*, operation: BulkOperation, by: User | None, now: datetime) -> BulkOperation:
    """Start an operation that undoes what another one has done.

    Devices that were changed otherwise meanwhile keep that change.

    Raises:
        OperationStateConflict: the operation is running.
        CannotUndo: its action cannot be undone, it has changed nothing, or was undone already.
    """
    row = _locked(operation, State.FINISHED, State.CANCELLED, State.FAILED)
    if not can_undo(row):
        raise CannotUndo("This operation cannot be undone, or was undone already.")
    return _create(
        action=row.action,
        parameters=row.parameters,
        filter={},
        found=row.done,
        undoes=row,
        by=by,
        now=now,
    )


def can_undo(row: BulkOperation) -> bool:
    """Return whether `undo` is possible."""
    return (
        row.state != State.RUNNING
        and row.undoes_id is None
        and row.done > 0
        and _is_known(row.action)
        and action_named(row.action).can_undo
        and not hasattr(row, "undone_by")
    )


def _is_known(action: str) -> bool:
    """Return whether an action still exists in this release."""
    return action in all_actions()


@transaction.atomic
def cancel(*, operation: BulkOperation, now: datetime) -> BulkOperation:
    """Stop an operation. Devices that were changed already stay as they are.

    Raises:
        OperationStateConflict: the operation has ended.
    """
    row = _locked(operation, State.RUNNING)
    _finish(row, State.CANCELLED, now)
    return row


def any_running() -> bool:
    """Return whether an operation of any tenant is running."""
    return BulkOperation.every_tenant.running().exists()


def process_next_batch(*, now: datetime) -> bool:
    """Change the next devices of one running operation of a random tenant.

    Each batch is one transaction, which also stores the position. If a process is killed,
    another one continues, and no device is changed twice. An operation that fails unexpectedly
    stops no other, and ends after `MAX_FAILURES` attempts.

    Returns:
        False if no operation is running.
    """
    row: BulkOperation | None = None
    try:
        with transaction.atomic():
            running = BulkOperation.every_tenant.running()
            oldest = running.order_by(random_tenant_first(), "worked_at")
            row = oldest.select_for_update(skip_locked=True, of=("self",)).first()
            if row is None:
                return False
            member = row.requested_by
            caller = (
                Caller(kind="member", id=str(member.pk), name=member.email) if member else SYSTEM
            )
            with tenant_scope(row.tenant_id), caller_scope(caller):
                _process(row, now)
    except Exception:
        if row is None:
            raise
        log.exception("A batch of the bulk operation %s has failed", row.pk)
        _note_failure(row, now)
    return True


def results_of(operation: BulkOperation, outcome: str = "") -> QuerySet[BulkResult]:
    """Return the results of an operation with their devices, ordered by the ids of the devices."""
    rows = BulkResult.objects.filter(operation=operation).select_related("device")
    worked = rows.filter(outcome=outcome) if outcome else rows.exclude(outcome=Outcome.WAITING)
    return worked.order_by("device_id")


def delete_old(*, now: datetime) -> int:
    """Delete operations that ended long ago, with their results. Return the number of operations.

    An operation stays as long as its undo. Results are deleted in chunks.
    """
    old = BulkOperation.every_tenant.exclude(state=State.RUNNING).filter(
        requested_at__lt=now - KEPT
    )
    newer = Q(undone_by__requested_at__gte=now - KEPT) | Q(undone_by__state=State.RUNNING)
    ids = list(
        old.exclude(newer).order_by("requested_at").values_list("pk", flat=True)[:DELETED_PER_RUN]
    )
    for _ in range(MAX_CHUNKS):
        results = BulkResult.every_tenant.filter(operation__in=ids).order_by()
        chunk = list(results.values_list("pk", flat=True)[:CHUNK])
        BulkResult.every_tenant.filter(pk__in=chunk)._raw_delete("default")
        if len(chunk) < CHUNK:
            return BulkOperation.every_tenant.filter(pk__in=ids).delete()[0]
    return 0  # the next run continues


def _create(**fields: Any) -> BulkOperation:
    now = fields.pop("now")
    row = BulkOperation.objects.create(
        requested_by=fields.pop("by"), requested_at=now, worked_at=now, **fields
    )
    record([BulkOperationStarted(**_event_fields(row, now))])
    enqueue_on_commit(TASK, expires=55)
    return row


def _note_failure(row: BulkOperation, now: datetime) -> None:
    """Let other operations be first, and end this one after several failures."""
    with transaction.atomic(), tenant_scope(row.tenant_id):
        locked = BulkOperation.objects.select_for_update(of=("self",)).running()
        current = locked.filter(pk=row.pk).first()
        if current is None:
            return
        current.failures, current.worked_at = current.failures + 1, now
        current.save(update_fields=["failures", "worked_at"])
        if current.failures >= MAX_FAILURES:
            _finish(current, State.FAILED, now)


def _process(row: BulkOperation, now: datetime) -> None:
    action = action_named(row.action)
    if not row.is_prepared:
        row.found, row.is_prepared, row.worked_at = _prepare(row, now), True, now
        row.save(update_fields=["found", "is_prepared", "worked_at"])
        return
    waiting = BulkResult.objects.filter(operation=row).order_by("device_id")
    if row.position is not None:
        waiting = waiting.filter(device__gt=row.position)
    before = dict(waiting.values_list("device_id", "before")[: action.batch])
    if before:
        results = _changed(row, action, before, now)
        _store(row, results)
        row.done += sum(result.outcome == Outcome.DONE for result in results)
        row.unchanged += sum(result.outcome == Outcome.UNCHANGED for result in results)
        row.refused += sum(result.outcome == Outcome.REFUSED for result in results)
        row.position, row.worked_at = max(before), now
        row.save(update_fields=["done", "unchanged", "refused", "position", "worked_at"])
    if len(before) < action.batch:
        _finish(row, State.FINISHED, now)


def _prepare(row: BulkOperation, now: datetime) -> int:
    """Store which devices the operation is for. Return their number."""
    if row.undoes_id is not None:
        done = BulkResult.objects.filter(operation=row.undoes_id, outcome=Outcome.DONE)
        return _insert_waiting(row, done.order_by().values("device_id", "before"), "before")
    try:
        devices = device_filters.select(row.filter, now=now)
    except DomainError:  # a site or a filter is gone
        return 0
    devices = devices.filter(registered_at__lte=row.requested_at).order_by()
    return _insert_waiting(row, devices.values("pk"), "NULL::jsonb")


def _insert_waiting(row: BulkOperation, devices: Any, before: str) -> int:
    """Insert a waiting result for each selected device.

    Args:
        devices: a queryset whose first column is the id of the device.
        before: the SQL of what an undo needs.
    """
    sql, parameters = devices.query.sql_with_params()
    columns = "device_id, before" if before == "before" else "device_id"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO bulk_bulkresult
                (tenant_id, operation_id, device_id, outcome, detail, before)
            SELECT %s, %s, device_id, %s, '', {before} FROM ({sql}) AS selected ({columns})
            """,
            [row.tenant_id, row.pk, str(Outcome.WAITING), *parameters],
        )
        return int(cursor.rowcount)


def _store(row: BulkOperation, results: list[Done]) -> None:
    """Store the results of a batch with one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE bulk_bulkresult AS row
            SET outcome = new.outcome, detail = new.detail, before = new.before
            FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::jsonb[])
                AS new (device_id, outcome, detail, before)
            WHERE row.operation_id = %s AND row.device_id = new.device_id
            """,
            [
                [str(result.device_id) for result in results],
                [str(result.outcome) for result in results],
                [result.detail for result in results],
                [None if item.before is None else json.dumps(item.before) for item in results],
                row.pk,
            ],
        )


def _changed(
    row: BulkOperation, action: BulkAction, before: Mapping[UUID, Any], now: datetime
) -> list[Done]:
    """Lock and change devices. Those that were retired meanwhile are refused."""
    locked = Device.objects.select_for_update(no_key=True, of=("self",)).order_by("pk")
    locked = locked.filter(pk__in=list(before)).exclude(status=Device.Status.RETIRED)
    devices = list(locked.only("tenant", "name", "status", "site", "quarantined_at"))
    if row.undoes_id is None:
        results = action.apply(devices, row.parameters, now=now)
    else:
        results = action.revert(devices, before, row.parameters, now=now)
    missing = set(before) - {result.device_id for result in results}
    retired = [Done(pk, Outcome.REFUSED, "The device is retired.") for pk in sorted(missing)]
    return [*results, *retired]


def _locked(operation: BulkOperation, *states: str) -> BulkOperation:
    rows = BulkOperation.objects.select_for_update(of=("self",)).filter(pk=operation.pk)
    row = first_or_raise(rows, NoSuchOperation)
    if row.state not in states:
        raise OperationStateConflict(f"The operation is {row.get_state_display()}.")
    return row


def _finish(row: BulkOperation, state: str, now: datetime) -> None:
    row.state, row.ended_at = state, now
    row.save(update_fields=["state", "ended_at"])
    record(
        [
            BulkOperationEnded(
                **_event_fields(row, now),
                state=state,
                done=row.done,
                unchanged=row.unchanged,
                refused=row.refused,
            )
        ]
    )


def _event_fields(row: BulkOperation, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "at": now,
        "operation_id": str(row.pk),
        "action": row.action,
        "found": row.found,
    }
