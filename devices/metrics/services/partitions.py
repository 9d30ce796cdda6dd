"""Create and drop the time partitions of the metrics tables.

Partitions are created ahead of time by a task. Ingestion creates a missing partition
itself, so that storing a sample never depends on the task having run.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from django.conf import settings
from django.db import connection, transaction

from core.locks import transaction_lock
from devices.metrics.models import DailyMetrics, DeviceMetrics, HourlyMetrics
from tenants.context import tenant_scope
from tenants.postgresql.row_security import enable_row_security

AHEAD = timedelta(days=3)
Span = Literal["day", "month"]


@dataclass(frozen=True, slots=True)
class PartitionedTable:
    """A table partitioned by day or month (UTC) on one timestamp column."""

    table: str
    column: str
    span: Span

    @property
    def date_format(self) -> str:
        return "%Y%m%d" if self.span == "day" else "%Y%m"

    def partition_name(self, moment: datetime) -> str:
        return f"{self.table}_{moment.astimezone(UTC):{self.date_format}}"

    def partition_bounds(self, moment: datetime) -> tuple[datetime, datetime]:
        """Return the start (inclusive) and end (exclusive) of the partition for this moment."""
        start = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.span == "day":
            return start, start + timedelta(days=1)
        start = start.replace(day=1)
        return start, (start + timedelta(days=32)).replace(day=1)


SAMPLES = PartitionedTable(DeviceMetrics._meta.db_table, "recorded_at", "day")
ROLL_UPS = tuple(
    PartitionedTable(model._meta.db_table, "starts_at", "month")
    for model in (HourlyMetrics, DailyMetrics)
)


def create_for(moments: Iterable[datetime]) -> int:
    """Create the missing partitions for rows of these times. Return the number created."""
    required = {
        (table.partition_name(moment), table, table.partition_bounds(moment))
        for moment in moments
        for table in (SAMPLES, *ROLL_UPS)
    }
    existing = {
        partition.name for table in (SAMPLES, *ROLL_UPS) for partition in _partitions(table)
    }
    missing = [item for item in required if item[0] not in existing]
    for name, table, bounds in sorted(missing, key=lambda item: item[0]):
        _create(name, table, bounds)
    return len(missing)


def create_ahead(*, now: datetime) -> int:
    """Create the missing partitions for the coming days and for late samples.

    Late samples may be as old as the retention. Return the number of created partitions.
    """
    days = range(-settings.METRICS_RETENTION_DAYS, AHEAD.days + 1)
    return create_for(now + timedelta(days=day) for day in days)


def drop_expired(table: PartitionedTable, *, before: datetime) -> list[str]:
    """Drop the partitions that end at or before the given time. Return their names.

    A partition is detached before it is dropped, without blocking readers and writers
    of the table. Partitions that a crash left detached, or half detached, are dropped
    too.
    """
    dropped = []
    for partition in _partitions(table):
        if partition.ends_at <= before:
            _drop(partition, table)
            dropped.append(partition.name)
    return dropped


@transaction.atomic
def _create(name: str, table: PartitionedTable, bounds: tuple[datetime, datetime]) -> None:
    """Create a partition as a separate table and attach it.

    Readers and writers of the partitioned table are not blocked.
    """
    quote = connection.ops.quote_name
    transaction_lock("metrics partitions")
    if _exists(name):
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE {quote(name)} (LIKE {quote(table.table)} INCLUDING ALL)"
            + (" WITH (fillfactor = 80)" if table in ROLL_UPS else "")
        )
        enable_row_security(cursor, quote(name))
        cursor.execute(
            f"ALTER TABLE {quote(table.table)} ATTACH PARTITION {quote(name)}"
            " FOR VALUES FROM (%s) TO (%s)",
            bounds,
        )


def _drop(partition: "_Partition", table: PartitionedTable) -> None:
    quote = connection.ops.quote_name
    mode = "CONCURRENTLY" if not connection.in_atomic_block else ""
    if partition.is_half_detached:
        mode = "FINALIZE"
    # Without a tenant scope, no SET is sent in the same message as the statement.
    # PostgreSQL requires DETACH … CONCURRENTLY to be sent alone.
    with tenant_scope(None), connection.cursor() as cursor:
        if partition.is_attached:
            cursor.execute(
                f"ALTER TABLE {quote(table.table)} DETACH PARTITION {quote(partition.name)} {mode}"
            )
        cursor.execute(f"DROP TABLE {quote(partition.name)}")


def _exists(name: str) -> bool:
    # `to_regclass` is not used, because it may return a cached "not found" from before the lock.
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (SELECT FROM pg_class WHERE relname = %s
                AND relnamespace = current_schema()::regnamespace)
            """,
            [name],
        )
        return bool(cursor.fetchone()[0])


@dataclass(frozen=True, slots=True)
class _Partition:
    name: str
    ends_at: datetime
    is_attached: bool
    is_half_detached: bool


def _partitions(table: PartitionedTable) -> list[_Partition]:
    """Return all partitions of a table, oldest first, including detached ones."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname, inhrelid IS NOT NULL, coalesce(inhdetachpending, false)
            FROM pg_class LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
            WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
                AND relname ~ %s
            ORDER BY relname
            """,
            [f"^{table.table}_[0-9]+$"],
        )
        rows = cursor.fetchall()
    partitions = []
    for name, is_attached, is_half_detached in rows:
        starts_at = datetime.strptime(name.rsplit("_", 1)[1], table.date_format).replace(tzinfo=UTC)
        ends_at = table.partition_bounds(starts_at)[1]
        partitions.append(_Partition(name, ends_at, is_attached, is_half_detached))
    return partitions
