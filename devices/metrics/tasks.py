"""Celery's doors to the metrics."""

from celery import shared_task
from django.utils import timezone

from devices.metrics import partitions, retention, rollups
from provisioning.locks import alone
from tenants.context import every_tenant_scope

SETTLING = 7_205_759_407  # the lock: one settles at a time, beside whatever else runs


@shared_task(ignore_result=True)
def make_partitions_ahead() -> int:
    """Make what the coming days need; return how many were missing."""
    return partitions.make_ahead(now=timezone.now())


@shared_task(ignore_result=True)
def settle_roll_ups() -> int:
    """Make the percentiles that are due; return how many roll-ups got theirs."""
    with every_tenant_scope(), alone(SETTLING) as mine:
        return rollups.settle(now=timezone.now()) if mine else 0


@shared_task(ignore_result=True)
def drop_outlived() -> list[str]:
    """Drop what is older than its retention; return the partitions' names."""
    with every_tenant_scope():
        return retention.drop_outlived(now=timezone.now())
