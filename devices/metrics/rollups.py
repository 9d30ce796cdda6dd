"""The 95th percentiles of hours and days that are over, made from their samples."""

from datetime import datetime

from django.db import connection, transaction

from devices.metrics.history import percentile
from devices.metrics.measures import MEASURES
from devices.metrics.models import ROLL_UPS, DeviceMetrics

BATCH = 2_000  # roll-ups in one transaction


def settle(*, now: datetime) -> int:
    """Make what is due, hours before days; return how many roll-ups got theirs.

    Runs beside itself and beside devices that send: a roll-up that somebody holds is
    skipped and found the next time.
    """
    total = 0
    for bucket in ROLL_UPS:
        while settled := settle_batch(bucket, now=now):
            total += settled
    return total


@transaction.atomic
def settle_batch(bucket: str, *, now: datetime, limit: int = BATCH) -> int:
    """The oldest due roll-ups of one kind; return how many."""
    table = ROLL_UPS[bucket]._meta.db_table
    names = [measure.name for measure in MEASURES]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH due AS MATERIALIZED (
                SELECT device_id, starts_at FROM {table}
                WHERE p95_due_at <= %(now)s
                ORDER BY p95_due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
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
            UPDATE {table} r SET p95_due_at = NULL,
                {", ".join(f"{name}_p95 = exact.{name}" for name in names)}
            FROM exact
            WHERE r.device_id = exact.device_id AND r.starts_at = exact.starts_at
            """,
            {"now": now, "limit": limit},
        )
        return int(cursor.rowcount)
