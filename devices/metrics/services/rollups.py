"""The 95th percentiles of hours and days that are over, made from their samples."""

from datetime import datetime

from django.db import connection, transaction

from devices.metrics.measures import MEASURES
from devices.metrics.models import ROLL_UPS, DeviceMetrics
from devices.metrics.services.history import percentile

BATCH = 1_000  # roll-ups in one transaction


@transaction.atomic
def settle(bucket: str, *, now: datetime, begun_before: datetime | None = None) -> int:
    """Make a batch of what is due of one kind, the oldest; return how many got theirs.

    They are held first, and made from what is seen after that: a sample that came while
    they were chosen is in it. One that somebody else holds is left to the next time.

    Args:
        begun_before: of those that began earlier only.
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
            {"now": now, "before": begun_before},
        )
        held = cursor.fetchall()
        if held:
            ids, starts = zip(*held, strict=True)
            cursor.execute(_made_from_samples(bucket), [list(ids), list(starts)])
    return len(held)


def _made_from_samples(bucket: str) -> str:
    """SQL: the percentiles of some roll-ups, by device and time."""
    names = [measure.name for measure in MEASURES]
    return f"""
        WITH due AS MATERIALIZED (
            SELECT * FROM unnest(%s::uuid[], %s::timestamptz[]) d (device_id, starts_at)
        ),
        exact AS (
            SELECT due.*, s.* FROM due CROSS JOIN LATERAL (
                SELECT {", ".join(map(percentile, names))}
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
