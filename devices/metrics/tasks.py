"""Celery tasks for metric partitions, roll-ups and retention."""

from datetime import timedelta

from celery import shared_task

from core import clock
from core.locks import try_session_lock
from devices.metrics.models import ROLL_UPS
from devices.metrics.services import partitions, retention, rollups
from tenants.context import every_tenant_scope

MAX_RUN_TIME = timedelta(seconds=30)  # then the worker is free for other tasks
PERCENTILES_LOCK = 7_205_759_407  # advisory lock: one process computes at a time


@shared_task(ignore_result=True)
def create_partitions() -> int:
    """Create the partitions for the coming days. Return the number of new partitions."""
    return partitions.create_ahead(now=clock.now())


@shared_task(ignore_result=True)
def finalise_rollups() -> int:
    """Compute due percentiles for at most `MAX_RUN_TIME`. Return the number of roll-ups."""
    started_at, total = clock.now(), 0
    with every_tenant_scope(), try_session_lock(PERCENTILES_LOCK) as is_locked:
        # Hours come first, because they are read more often than days.
        for bucket in ROLL_UPS if is_locked else ():
            while clock.now() - started_at < MAX_RUN_TIME:
                count = rollups.compute_percentiles(bucket, now=clock.now())
                total += count
                if not count:
                    break
    return total


@shared_task(ignore_result=True)
def drop_expired_partitions() -> list[str]:
    """Drop samples and roll-ups past their retention. Return the partitions' names."""
    with every_tenant_scope():
        return retention.drop_expired(now=clock.now())
