"""Retention of samples and roll-ups: drop whole partitions that have expired."""

from datetime import datetime, timedelta

from django.conf import settings

from devices.metrics.models import ROLL_UPS
from devices.metrics.services import partitions, rollups


def drop_expired(*, now: datetime) -> list[str]:
    """Drop partitions past their retention. Return the names of the partitions.

    Percentiles that are still due are computed before their samples are dropped.
    """
    samples = now - timedelta(days=settings.METRICS_RETENTION_DAYS)
    aggregates = now - timedelta(days=settings.METRICS_AGGREGATE_RETENTION_DAYS)
    for bucket in ROLL_UPS:
        while rollups.compute_percentiles(bucket, now=now, started_before=samples):
            pass
    dropped = partitions.drop_expired(partitions.SAMPLES, before=samples)
    for table in partitions.ROLL_UPS:
        dropped += partitions.drop_expired(table, before=aggregates)
    return dropped
