"""Celery tasks for events, the audit log and channels."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

from celery import shared_task
from django.conf import settings

from core import clock
from core.locks import try_session_lock
from events.services import audit_log, audit_retention, channel_delivery, channel_health, delivery
from tenants.context import every_tenant_scope

SEND_LOCK = 7_205_759_500  # of the first sender; those of the others follow

# A task ends after this time, so that the worker can run other tasks. Beat starts it again.
LONGEST_RUN = timedelta(seconds=45)
LONGEST_LAG = timedelta(hours=6)  # of the deletion of expired events

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def deliver_events() -> int:
    """Deliver due events to their subscribers. Return the number of attempts."""
    started = clock.now()
    total = 0
    with every_tenant_scope():
        while count := delivery.deliver(now=clock.now()):
            total += count
            if clock.now() - started > LONGEST_RUN:
                break
    return total


@shared_task(ignore_result=True)
def delete_expired_events() -> int:
    """Delete events older than `EVENT_RETENTION_DAYS`. Return the number of events.

    A run that takes too long is continued by the next.
    """
    now = clock.now()
    before = now - timedelta(days=settings.EVENT_RETENTION_DAYS)
    with every_tenant_scope():
        count = audit_retention.delete_expired(
            before=before, time_is_up=lambda: clock.now() - now > LONGEST_RUN
        )
        if audit_retention.lag(before=before) > LONGEST_LAG:
            logger.error("Expired events are not deleted in time.")
    return count


@shared_task(ignore_result=True)
def seal_events() -> int:
    """Add new events to the hash chains of the audit log. Return the number of events."""
    with every_tenant_scope():
        return audit_log.seal(now=clock.now())


@shared_task(ignore_result=True)
def send_to_channels() -> int:
    """Send due messages to channels. Return the number of attempts.

    At most `CHANNEL_SENDERS` workers run this task at a time, because the task waits for remote
    servers. The other workers stay free for other tasks.
    """
    started = clock.now()
    total = 0
    with every_tenant_scope(), _sender_place() as is_free:
        while is_free and (count := channel_delivery.send_due(now=clock.now())):
            total += count
            if clock.now() - started > LONGEST_RUN:
                break
    return total


@contextmanager
def _sender_place() -> Iterator[bool]:
    """Take one of the places of senders. Yield whether one was free."""
    with ExitStack() as stack:
        locks = range(SEND_LOCK, SEND_LOCK + settings.CHANNEL_SENDERS)
        yield any(stack.enter_context(try_session_lock(lock)) for lock in locks)


@shared_task(ignore_result=True)
def delete_expired_messages() -> int:
    """Delete messages that are older than a week. Return the number of messages."""
    with every_tenant_scope():
        return channel_delivery.delete_expired(now=clock.now())


@shared_task(ignore_result=True)
def report_failing_channels() -> int:
    """Record an event for each channel that has failed for a day. Return their number."""
    with every_tenant_scope():
        return channel_health.report_failing(now=clock.now())
