"""Deliver events to their subscribers: at least once, in order per device, with back-off.

A first transaction leases the delivery: it counts the attempt and postpones the next one.
A second transaction calls the subscriber and deletes the delivery. If a worker is killed
in between, the lease expires and the delivery is repeated. An event that kills every
worker runs out of attempts.
"""

import logging
import random
from datetime import datetime, timedelta

from django.db import transaction

from events.domain_events import event_from
from events.extension_points import subscriber_at
from events.models import Delivery, Event
from tenants.context import SYSTEM, caller_scope, tenant_scope

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
FIRST_BACK_OFF = timedelta(seconds=5)
LONGEST_BACK_OFF = timedelta(hours=1)
MAX_ATTEMPTS = 12  # over about three hours


def deliver(*, now: datetime, batch_size: int = 100) -> int:
    """Lease a batch of due deliveries and attempt them. Return the number of attempts.

    Several workers may run this at the same time: locked rows are skipped.
    """
    batch = _lease(now=now, limit=batch_size)
    for delivery in batch:
        _attempt(delivery, now=now)
    return len(batch)


@transaction.atomic
def retry(*, delivery_ids: list[int], now: datetime) -> int:
    """Make dead deliveries due again, with all attempts. Return how many."""
    dead = Delivery.objects.dead().filter(pk__in=delivery_ids)
    return dead.update(dead_at=None, attempts=0, due_at=now)


def back_off(attempts: int) -> timedelta:
    """Return the wait after a number of attempts: doubling, capped, with jitter."""
    wait = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2 ** max(0, attempts - 1))
    return timedelta(seconds=wait.total_seconds() * random.uniform(0.8, 1.2))


@transaction.atomic
def _lease(*, now: datetime, limit: int) -> list[Delivery]:
    due = Delivery.objects.due(now).order_by("id")
    batch = list(due.select_for_update(skip_locked=True, of=("self",))[:limit])
    for delivery in batch:
        delivery.attempts += 1
        delivery.due_at = now + LEASE
    Delivery.objects.bulk_update(batch, ["attempts", "due_at"])
    return batch


def _attempt(delivery: Delivery, *, now: datetime) -> None:
    event = Event.every_tenant.get(pk=delivery.event_id)
    try:
        with transaction.atomic():
            _call_subscriber(delivery, event)
    except Exception as error:  # a failing subscriber must not block other deliveries
        logger.exception(
            "An event subscriber failed.", extra={"listener": delivery.listener}
        )
        _postpone(delivery, error, now=now)


def _call_subscriber(delivery: Delivery, event: Event) -> None:
    entry = subscriber_at(event.name, delivery.listener)
    if entry is not None:  # None if the subscriber was removed from the code
        kind, subscriber = entry
        with tenant_scope(event.tenant_id), caller_scope(SYSTEM):
            subscriber(event_from(event, kind))
    delivery.delete()


def _postpone(delivery: Delivery, error: Exception, *, now: datetime) -> None:
    dead = delivery.attempts >= MAX_ATTEMPTS
    Delivery.objects.filter(pk=delivery.pk).update(
        last_error=f"{type(error).__name__}: {error}"[:2000],
        due_at=now + back_off(delivery.attempts),
        dead_at=now if dead else None,
    )
