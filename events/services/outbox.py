"""The outbox: events are written in the transaction of a change and delivered afterwards."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext

from django.db import transaction

from core.inserts import insert, insert_many
from core.tasks import enqueue_on_commit
from events.domain_events import DomainEvent, row_of
from events.extension_points import subscribers_of
from events.models import Delivery, Event
from events.models.event import NO_OWNER
from events.services import page_updates
from events.services.fan_out import fan_out
from tenants.context import every_tenant_scope

FEW = 4  # events of most operations


def record(events: Iterable[DomainEvent]) -> None:
    """Write events in the current transaction, with a delivery for each subscriber.

    All events are written by one INSERT. Channels and open portal pages are notified
    when the transaction commits.

    Raises:
        TransactionManagementError: there is no transaction. Without a transaction, an
            event could be stored although its change failed.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError(
            "Record events inside the transaction that makes the change."
        )
    rows = [row_of(event) for event in events]
    if not rows:
        return
    # Row-level security allows events without a tenant, such as sign-ins, only in this scope.
    without_tenant = any(row.tenant_id is None for row in rows)
    with every_tenant_scope() if without_tenant else nullcontext():
        if len(rows) <= FEW:
            insert(rows)
        else:
            insert_many(rows)
        _add_deliveries(rows)
        if fan_out(rows):
            enqueue_on_commit("events.tasks.send_to_channels")
    transaction.on_commit(lambda: page_updates.changed(rows), robust=True)


def _add_deliveries(rows: Sequence[Event]) -> None:
    deliveries = [
        Delivery(
            event_id=row.pk,
            listener=path,
            stream=row.device_id or row.tenant_id,
            owner=row.tenant_id or NO_OWNER,
            due_at=row.at,
        )
        for row in rows
        for path in subscribers_of(row.name)
    ]
    if deliveries:
        insert_many(deliveries)
        enqueue_on_commit("events.tasks.deliver_events")
