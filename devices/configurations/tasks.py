"""Celery tasks of configurations."""

import time
from datetime import timedelta

from celery import shared_task
from django.conf import settings

from core import clock
from core.locks import try_session_lock
from devices.configurations.services import drift, recalculation, retention
from tenants.context import every_tenant_scope

# A run ends after this time, so that the worker can run other tasks. Beat starts it again.
MAX_RUN_TIME = timedelta(seconds=45)
RECALCULATION_LOCK = 7_205_759_408  # session lock: one worker recalculates at a time
PAUSE_FACTOR = 1.0  # pause after a batch, relative to its duration; connects stay fast


@shared_task(ignore_result=True)
def recalculate() -> int:
    """Recalculate the devices' effective documents. Return the number of batches."""
    start, batches = clock.now(), 0
    with try_session_lock(RECALCULATION_LOCK) as is_locked:
        while is_locked and clock.now() - start < MAX_RUN_TIME:
            batch_start = time.monotonic()
            if not recalculation.process_batch(now=clock.now()):
                break
            batches += 1
            time.sleep(PAUSE_FACTOR * (time.monotonic() - batch_start))
    return batches


@shared_task(ignore_result=True)
def detect_drift() -> int:
    """Publish drift events for devices. Return the number of newly drifted devices."""
    with every_tenant_scope():
        limit = timedelta(minutes=settings.CONFIGURATION_DRIFT_MINUTES)
        return drift.detect(now=clock.now(), limit=limit).announced


@shared_task(ignore_result=True)
def delete_unused_documents() -> int:
    """Delete effective documents that no device uses. Return the number of documents."""
    with every_tenant_scope():
        before = clock.now() - timedelta(days=settings.CONFIGURATION_RETENTION_DAYS)
        return retention.delete_unused(before=before)
