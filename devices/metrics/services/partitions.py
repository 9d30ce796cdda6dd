"""Tables in pieces by time: pieces are made ahead, and dropped whole when outlived.

A row that has no piece yet finds one made for it, so that nothing depends on the clock
of whoever makes them ahead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from django.conf import settings
from django.db import connection, transaction

from devices.metrics.models import DailyMetrics, DeviceMetrics, HourlyMetrics
from tenants.context import tenant_scope
from tenants.postgresql.row_security import guard

LOCK = 7_205_759_405  # one at a time makes or drops pieces
AHEAD = timedelta(days=3)
Span = Literal["day", "month"]


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A table in pieces of a day or a month (UTC), by one column of time."""

    table: str
    column: str
    span: Span

    def piece_of(self, moment: datetime) -> str:
        form = "%Y%m%d" if self.span == "day" else "%Y%m"
        return f"{self.table}_{moment.astimezone(UTC):{form}}"

    def bounds_of(self, moment: datetime) -> tuple[datetime, datetime]:
        start = moment.astimezone(UTC).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        if self.span == "day":
            return start, start + timedelta(days=1)
        start = start.replace(day=1)
        return start, (start + timedelta(days=32)).replace(day=1)


SAMPLES = Partitioned(DeviceMetrics._meta.db_table, "recorded_at", "day")
ROLL_UPS = tuple(
    Partitioned(model._meta.db_table, "starts_at", "month")
    for model in (HourlyMetrics, DailyMetrics)
)


def make_for(moments: Iterable[datetime]) -> int:
    """Make the pieces that rows of these times go to; return how many were missing."""
    wanted = {
        (table.piece_of(moment), table, table.bounds_of(moment))
        for moment in moments
        for table in (SAMPLES, *ROLL_UPS)
    }
    there = {piece.name for table in (SAMPLES, *ROLL_UPS) for piece in _pieces(table)}
    missing = [item for item in wanted if item[0] not in there]
    for piece, table, bounds in sorted(missing, key=lambda item: item[0]):
        _make(piece, table, bounds)
    return len(missing)


def make_ahead(*, now: datetime) -> int:
    """Make what the coming days need, and late samples; return how many were missing."""
    days = range(-settings.METRICS_RETENTION_DAYS, AHEAD.days + 1)
    return make_for(now + timedelta(days=day) for day in days)


def drop_outlived(table: Partitioned, *, before: datetime) -> list[str]:
    """Drop the pieces whose every row is older; return their names.

    A piece is detached first, without keeping readers and writers of the table waiting;
    what a crash left detached, or half so, is dropped as well.
    """
    dropped = []
    for piece in _pieces(table):
        if piece.ends_at <= before:
            _drop(piece, table)
            dropped.append(piece.name)
    return dropped


@transaction.atomic
def _make(piece: str, table: Partitioned, bounds: tuple[datetime, datetime]) -> None:
    """Made beside the table and then attached: readers and writers go on meanwhile."""
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if _is_there(piece):
            return
        cursor.execute(
            f"CREATE TABLE {quote(piece)} (LIKE {quote(table.table)} INCLUDING ALL)"
            + (" WITH (fillfactor = 80)" if table in ROLL_UPS else "")
        )
        guard(cursor, quote(piece))
        cursor.execute(
            f"ALTER TABLE {quote(table.table)} ATTACH PARTITION {quote(piece)}"
            " FOR VALUES FROM (%s) TO (%s)",
            bounds,
        )


def _drop(piece: "_Piece", table: Partitioned) -> None:
    quote = connection.ops.quote_name
    how = "CONCURRENTLY" if not connection.in_atomic_block else ""
    if piece.is_half_detached:
        how = "FINALIZE"
    # Without a scope: PostgreSQL wants the statement to itself.
    with tenant_scope(None), connection.cursor() as cursor:
        if piece.is_attached:
            cursor.execute(
                f"ALTER TABLE {quote(table.table)}"
                f" DETACH PARTITION {quote(piece.name)} {how}"
            )
        cursor.execute(f"DROP TABLE {quote(piece.name)}")


def _is_there(name: str) -> bool:
    # Not by `to_regclass`: it may still remember that a moment ago there was none.
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
class _Piece:
    name: str
    ends_at: datetime
    is_attached: bool
    is_half_detached: bool


def _pieces(table: Partitioned) -> list[_Piece]:
    """All of them, oldest first, also those that are not attached."""
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
    form = "%Y%m%d" if table.span == "day" else "%Y%m"
    pieces = []
    for name, attached, half in rows:
        begins_at = datetime.strptime(name.rsplit("_", 1)[1], form).replace(tzinfo=UTC)
        ends_at = table.bounds_of(begins_at)[1]
        pieces.append(_Piece(name, ends_at, attached, half))
    return pieces
