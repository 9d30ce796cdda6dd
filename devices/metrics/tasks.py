"""Celery's doors to the metrics."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from core.locks import alone
from devices.metrics.models import ROLL_UPS
from devices.metrics.services import partitions, retention, rollups
from tenants.context import every_tenant_scope

LONGEST_RUN = timedelta(seconds=30)  # then others get the worker
SETTLING = 7_205_759_407  # the lock: one settles at a time, beside whatever else runs


@shared_task(ignore_result=True)
def create_partitions() -> int:
    """Make what the coming days need; return how many were missing."""
    return partitions.make_ahead(now=timezone.now())


@shared_task(ignore_result=True)
def finalise_rollups() -> int:
    """Make the percentiles that are due, or begin to; return how many were made."""
    begun, total = timezone.now(), 0
    with every_tenant_scope(), alone(SETTLING) as mine:
        for bucket in ROLL_UPS if mine else ():  # hours first, they are more wanted
            while timezone.now() - begun < LONGEST_RUN:
                settled = rollups.settle(bucket, now=timezone.now())
                total += settled
                if not settled:
                    break
    return total


@shared_task(ignore_result=True)
def drop_expired_partitions() -> list[str]:
    """Drop what is older than its retention; return the partitions' names."""
    with every_tenant_scope():
        return retention.drop_outlived(now=timezone.now())
