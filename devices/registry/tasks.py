"""Celery tasks of the device registry."""

from celery import shared_task
from django.conf import settings

from core import clock
from devices.registry.services import pairing, presence, unreadable_fields
from tenants.context import every_tenant_scope


@shared_task(ignore_result=True)
def sweep_device_status() -> int:
    """Mark silent devices offline. Return the number of marked devices."""
    with every_tenant_scope():
        return presence.sweep(now=clock.now(), threshold=settings.RECENT_THRESHOLD)


@shared_task(ignore_result=True)
def delete_expired_pairings() -> int:
    """Delete pairings that expired more than a day ago. Return the number of pairings."""
    return pairing.delete_expired(now=clock.now())


@shared_task(ignore_result=True)
def delete_old_unreadable_fields() -> int:
    """Delete unreadable fields that were last seen a month ago. Return the number of rows."""
    with every_tenant_scope():
        return unreadable_fields.delete_old(now=clock.now())
