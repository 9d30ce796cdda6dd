"""Hand events to their listeners: at least once, in order per device, with back-off.

A delivery is first leased, in a transaction of its own: its attempt is counted and
its time moved on. Then the listener runs in a second transaction that also removes the
delivery. A worker killed in between loses nothing, since the lease ends by itself, and
an event that kills every worker runs out of attempts.
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
MOST_ATTEMPTS = 12  # about three hours of trying


def deliver(*, now: datetime, batch_size: int = 100) -> int:
    """Lease one batch of due deliveries and make them; return how many were leased.

    Runs beside itself without harm: rows leased by another are skipped.
    """
    batch = _lease(now=now, limit=batch_size)
    for delivery in batch:
        _attempt(delivery, now=now)
    return len(batch)


@transaction.atomic
def retry(*, delivery_ids: list[int], now: datetime) -> int:
    """Try dead deliveries again from the first attempt; return how many."""
    dead = Delivery.objects.dead().filter(pk__in=delivery_ids)
    return dead.update(dead_at=None, attempts=0, due_at=now)


def back_off(attempts: int) -> timedelta:
    """How long to wait after so many attempts: doubling, capped, with jitter."""
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
            _hand_over(delivery, event)
    except Exception as error:  # a listener's fault may not keep the others waiting
        logger.exception("A listener failed", extra={"listener": delivery.listener})
        _put_off(delivery, error, now=now)


def _hand_over(delivery: Delivery, event: Event) -> None:
    subscriber = subscriber_at(event.name, delivery.listener)
    if subscriber is not None:  # else it was removed from the code
        kind, act = subscriber
        with tenant_scope(event.tenant_id), caller_scope(SYSTEM):
            act(event_from(event, kind))
    delivery.delete()


def _put_off(delivery: Delivery, error: Exception, *, now: datetime) -> None:
    dead = delivery.attempts >= MOST_ATTEMPTS
    Delivery.objects.filter(pk=delivery.pk).update(
        last_error=f"{type(error).__name__}: {error}"[:2000],
        due_at=now + back_off(delivery.attempts),
        dead_at=now if dead else None,
    )
