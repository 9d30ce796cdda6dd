"""Delete events and their seals after the retention period, the oldest first."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from events.models import Delivery, Seal

MAX_SEALS, MAX_EVENTS = 1_000, 20_000  # deleted in one transaction


def delete_expired(*, before: datetime, time_is_up: Callable[[], bool] = lambda: False) -> int:
    """Delete the seals created before the given time and the events in these seals.

    In each chain, deletion stops at the first seal that contains an event with a pending
    delivery. Each batch has a transaction, so a call that is interrupted is continued by the next.

    Args:
        time_is_up: asked before each batch.

    Returns:
        The number of deleted events.
    """
    total = 0
    stopped: set[UUID | None] = set()  # chains
    while not time_is_up():
        batch = _oldest(before, stopped)
        if not batch:
            break
        total += _delete(_without_pending(batch, stopped))
    return total


def lag(*, before: datetime) -> timedelta:
    """Return how far the deletion is behind: the age that the oldest seal should not have."""
    oldest = Seal.objects.order_by("sealed_at").values_list("sealed_at", flat=True).first()
    return timedelta() if oldest is None else max(timedelta(), before - oldest)


def _oldest(before: datetime, stopped: set[UUID | None]) -> list[Seal]:
    """Return the oldest expired seals of the other chains."""
    seals: QuerySet[Seal] = Seal.objects.filter(sealed_at__lt=before)
    if stopped - {None}:
        seals = seals.exclude(chain__in=stopped - {None})
    if None in stopped:
        seals = seals.exclude(chain=None)
    batch: list[Seal] = []
    events = 0
    for seal in seals.order_by("sealed_at", "number").only("chain", "event_ids")[:MAX_SEALS]:
        events += len(seal.event_ids)
        if batch and events > MAX_EVENTS:
            break
        batch.append(seal)
    return batch


def _without_pending(batch: Sequence[Seal], stopped: set[UUID | None]) -> list[Seal]:
    """Leave out the seals with a pending delivery, and the later seals of their chains."""
    ids = [event_id for seal in batch for event_id in seal.event_ids]
    waiting = Delivery.objects.waiting().filter(event_id__in=ids)
    pending = set(waiting.values_list("event_id", flat=True))
    deletable = []
    for seal in batch:
        if not pending.isdisjoint(seal.event_ids):
            stopped.add(seal.chain)
        if seal.chain not in stopped:
            deletable.append(seal)
    return deletable


@transaction.atomic
def _delete(seals: Sequence[Seal]) -> int:
    ids = [event_id for seal in seals for event_id in seal.event_ids]
    with connection.cursor() as cursor:  # makes the triggers allow the deletion
        cursor.execute("SET LOCAL provisioning.retention = 'on'")
        # In SQL, because the ORM would load each event to find the rows that refer to it.
        cursor.execute("DELETE FROM events_delivery WHERE event_id = ANY(%s)", [ids])
        cursor.execute("DELETE FROM events_event WHERE id = ANY(%s)", [ids])
        count: int = cursor.rowcount
        cursor.execute("DELETE FROM events_seal WHERE id = ANY(%s)", [[seal.pk for seal in seals]])
    return count
