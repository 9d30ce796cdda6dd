"""Celery tasks of the device registry."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings

from core import clock
from devices.registry.services import attributes, pairing, presence, unreadable_fields
from tenants.context import every_tenant_scope

LONGEST_SWEEP = timedelta(seconds=50)  # the next one, which starts each minute, continues


@shared_task(ignore_result=True)
def sweep_device_status() -> int:
    """Mark silent devices offline. Return the number of marked devices."""
    now = clock.now()
    with every_tenant_scope():
        return presence.sweep(
            now=now,
            threshold=settings.RECENT_THRESHOLD,
            time_is_up=lambda: clock.now() - now > LONGEST_SWEEP,
        )


@shared_task(ignore_result=True)
def delete_expired_pairings() -> int:
    """Delete pairings that expired more than a day ago. Return the number of pairings."""
    return pairing.delete_expired(now=clock.now())


@shared_task(ignore_result=True)
def delete_attribute_values() -> int:
    """Remove the values of deleted attributes from all devices. Return how many were removed."""
    with every_tenant_scope():
        return attributes.delete_values()


@shared_task(ignore_result=True)
def delete_old_unreadable_fields() -> int:
    """Delete unreadable fields that were last seen a month ago. Return the number of rows."""
    with every_tenant_scope():
        return unreadable_fields.delete_old(now=clock.now())
