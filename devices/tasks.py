"""Celery's door to the devices' presence."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from devices import presence
from tenants.context import every_tenant_scope


@shared_task(ignore_result=True)
def sweep_device_status() -> int:
    """Mark the silent devices offline; return how many."""
    with every_tenant_scope():
        return presence.sweep(now=timezone.now(), threshold=settings.RECENT_THRESHOLD)
