"""Celery's doors to the configurations."""

import time
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from core.locks import alone
from devices.configurations.services import drift, recalculation, retention
from tenants.context import every_tenant_scope

LONGEST_RUN = timedelta(
    seconds=45
)  # then others get the worker, and beat sends it again
ROUNDS = 7_205_759_408  # the lock: one works at a time
REST = 1.0  # times as long as a batch took, so that connects are not slowed down


@shared_task(ignore_result=True)
def recalculate() -> int:
    """Work out anew what devices should have; return how many batches were done."""
    begun, batches = timezone.now(), 0
    with alone(ROUNDS) as mine:
        while mine and timezone.now() - begun < LONGEST_RUN:
            started = time.monotonic()
            if not recalculation.work(now=timezone.now()):
                break
            batches += 1
            time.sleep(REST * (time.monotonic() - started))
    return batches


@shared_task(ignore_result=True)
def detect_drift() -> int:
    """Announce devices that have not for long what they should have; how many."""
    with every_tenant_scope():
        limit = timedelta(minutes=settings.CONFIGURATION_DRIFT_MINUTES)
        return drift.watch(now=timezone.now(), limit=limit).announced


@shared_task(ignore_result=True)
def delete_unused_documents() -> int:
    """Forget the documents that nobody wants any more; return how many."""
    with every_tenant_scope():
        before = timezone.now() - timedelta(days=settings.CONFIGURATION_RETENTION_DAYS)
        return retention.drop_outlived(before=before)
