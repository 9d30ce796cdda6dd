"""Deliver events to their subscribers at least once, in order per device, with back-off.

A first transaction leases the delivery: it counts the attempt and postpones the next
attempt. A second transaction calls the subscriber and deletes the delivery. If a worker is
killed between the two transactions, the delivery is repeated after the lease has expired.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction

from events import queries
from events.domain_events import event_from
from events.extension_points import subscriber_at
from events.models import Delivery, Event
from events.services.leasing import LeasePolicy, revive
from tenants.context import SYSTEM, caller_scope, tenant_scope

logger = logging.getLogger(__name__)

# Twelve attempts in about three hours.
LEASES = LeasePolicy(
    duration=timedelta(seconds=60),
    waits=[timedelta(seconds=min(3600, 5 * 2**number)) for number in range(11)],
)


def deliver(*, now: datetime, batch_size: int = 100) -> int:
    """Lease a batch of due deliveries and attempt them. Return the number of attempts.

    Several workers may run this function at the same time. Locked rows are skipped.
    """
    ids = queries.due_in_turns(now=now, batch_size=batch_size)
    batch = LEASES.claim(Delivery.objects.due(now).filter(pk__in=ids).order_by("id"), now=now)
    for delivery in batch:
        _attempt(delivery, now=now)
    return len(batch)


def retry(*, delivery_ids: list[int], now: datetime) -> int:
    """Make dead deliveries due again and reset their attempts. Return the number of deliveries."""
    dead = Delivery.objects.dead().filter(pk__in=delivery_ids)
    return revive(dead, now=now)


def _attempt(delivery: Delivery, *, now: datetime) -> None:
    event = Event.every_tenant.get(pk=delivery.event_id)
    try:
        with transaction.atomic():
            _call_subscriber(delivery, event)
    except Exception as error:  # a failing subscriber must not block other deliveries
        logger.exception("An event subscriber failed.", extra={"listener": delivery.listener})
        delivery.last_error = f"{type(error).__name__}: {error}"[:2000]
        LEASES.fail(delivery, now=now)
        delivery.save(update_fields=["last_error", "due_at", "dead_at"])


def _call_subscriber(delivery: Delivery, event: Event) -> None:
    entry = subscriber_at(event.name, delivery.listener)
    if entry is not None:  # None if the subscriber was removed from the code
        kind, subscriber = entry
        with tenant_scope(event.tenant_id), caller_scope(SYSTEM):
            subscriber(event_from(event, kind))
    delivery.delete()
