"""Celery's doors to the devices."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from devices.registry.services import pairing, presence
from tenants.context import every_tenant_scope


@shared_task(ignore_result=True)
def sweep_device_status() -> int:
    """Mark the silent devices offline; return how many."""
    with every_tenant_scope():
        return presence.sweep(now=timezone.now(), threshold=settings.RECENT_THRESHOLD)


@shared_task(ignore_result=True)
def delete_expired_pairings() -> int:
    """Forget the pairings that were over a day ago; return how many."""
    return pairing.drop_outlived(now=timezone.now())
