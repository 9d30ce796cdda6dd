"""Compute the 95th percentiles of finished hours and days from their samples."""

from datetime import datetime

from django.db import connection, transaction

from devices.metrics.measures import MEASURES
from devices.metrics.models import ROLL_UPS, DeviceMetrics
from devices.metrics.services.history import percentile_sql

BATCH = 1_000  # roll-ups in one transaction


@transaction.atomic
def compute_percentiles(
    bucket: str, *, now: datetime, started_before: datetime | None = None
) -> int:
    """Compute the percentiles of one batch of due roll-ups, the longest due first.

    The rows are locked in one statement and computed in the next statement. The second
    statement has a newer snapshot, so a sample committed before the lock was taken is
    included. The next run computes rows that are locked by another transaction.

    Args:
        bucket: `hour` or `day`.
        started_before: only roll-ups whose hour or day began before this time.

    Returns:
        The number of roll-ups computed.
    """
    table = ROLL_UPS[bucket]._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT device_id::text, starts_at FROM {table}
            WHERE p95_due_at <= %(now)s
                AND starts_at < coalesce(%(before)s, 'infinity'::timestamptz)
            ORDER BY p95_due_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED
            """,
            {"now": now, "before": started_before},
        )
        locked_rows = cursor.fetchall()
        if locked_rows:
            ids, starts = zip(*locked_rows, strict=True)
            cursor.execute(_update_percentiles(bucket), [list(ids), list(starts)])
    return len(locked_rows)


def _update_percentiles(bucket: str) -> str:
    """Return SQL that updates percentiles. Parameters are arrays of device ids and times."""
    names = [measure.name for measure in MEASURES]
    return f"""
        WITH due AS MATERIALIZED (
            SELECT * FROM unnest(%s::uuid[], %s::timestamptz[]) d (device_id, starts_at)
        ),
        exact AS (
            SELECT due.*, s.* FROM due CROSS JOIN LATERAL (
                SELECT {", ".join(map(percentile_sql, names))}
                FROM {DeviceMetrics._meta.db_table} s
                WHERE s.device_id = due.device_id
                    AND s.recorded_at >= due.starts_at
                    AND s.recorded_at < due.starts_at + interval '1 {bucket}'
            ) s
        )
        UPDATE {ROLL_UPS[bucket]._meta.db_table} r SET p95_due_at = NULL,
            {", ".join(f"{name}_p95 = exact.{name}" for name in names)}
        FROM exact
        WHERE r.device_id = exact.device_id AND r.starts_at = exact.starts_at
    """
