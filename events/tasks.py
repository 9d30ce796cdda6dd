"""Celery's doors into the events."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from core.locks import alone
from events.services import audit_log, channel_delivery, delivery
from tenants.context import every_tenant_scope

SENDING = 7_205_759_406  # the lock

LONGEST_RUN = timedelta(
    seconds=45
)  # then others get the worker; the rest waits a moment


@shared_task(ignore_result=True)
def deliver_events() -> int:
    """Hand on what is due, batch after batch; return how many deliveries were tried."""
    begun = timezone.now()
    total = 0
    with every_tenant_scope():
        while tried := delivery.deliver(now=timezone.now()):
            total += tried
            if timezone.now() - begun > LONGEST_RUN:
                break
    return total


@shared_task(ignore_result=True)
def delete_expired_events() -> int:
    """Remove the events that are older than `EVENT_RETENTION_DAYS`."""
    retention = timedelta(days=settings.EVENT_RETENTION_DAYS)
    with every_tenant_scope():
        return audit_log.drop_outlived(before=timezone.now() - retention)


@shared_task(ignore_result=True)
def seal_events() -> int:
    """Put the events that came since the last time into the hash chains."""
    with every_tenant_scope():
        return audit_log.seal(now=timezone.now())


@shared_task(ignore_result=True)
def send_to_channels() -> int:
    """Send to channels what is due, batch after batch; return how many messages.

    One at a time does so: it waits for others' servers, and the rest of the workers
    have something else to do.
    """
    begun = timezone.now()
    total = 0
    with every_tenant_scope(), alone(SENDING) as mine:
        while mine and (sent := channel_delivery.send_due(now=timezone.now())):
            total += sent
            if timezone.now() - begun > LONGEST_RUN:
                break
    return total


@shared_task(ignore_result=True)
def delete_expired_messages() -> int:
    """Remove the messages to channels that were over a week ago."""
    with every_tenant_scope():
        return channel_delivery.drop_outlived(now=timezone.now())
