"""How long samples and roll-ups are kept: whole partitions go when their time is over."""

from datetime import datetime, timedelta

from django.conf import settings

from devices.metrics.models import ROLL_UPS
from devices.metrics.services import partitions, rollups


def drop_outlived(*, now: datetime) -> list[str]:
    """Drop what is older than its retention; return the names of the partitions.

    What is still to be made from samples is made before they go.
    """
    samples = now - timedelta(days=settings.METRICS_RETENTION_DAYS)
    aggregates = now - timedelta(days=settings.METRICS_AGGREGATE_RETENTION_DAYS)
    for bucket in ROLL_UPS:
        while rollups.settle(bucket, now=now, begun_before=samples):
            pass
    dropped = partitions.drop_outlived(partitions.SAMPLES, before=samples)
    for table in partitions.ROLL_UPS:
        dropped += partitions.drop_outlived(table, before=aggregates)
    return dropped
