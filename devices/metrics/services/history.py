"""Read a device's samples and roll-ups."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from core.list_database import list_database
from devices.metrics.errors import InvalidQuery
from devices.metrics.measures import FIELDS, MEASURES, Measure
from devices.metrics.models import ROLL_UPS, AbstractSample, DeviceMetrics, LatestMetrics
from devices.registry.models import Device

MAX_PERIOD = {"raw": timedelta(days=93), "hour": timedelta(days=93), "day": timedelta(days=1100)}
DEFAULT_PERIOD = {"raw": timedelta(days=1), "hour": timedelta(days=7), "day": timedelta(days=90)}
AGGREGATES = ("count", "average", "minimum", "maximum", "p95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A span of time; `start` is inclusive, `end` is exclusive."""

    start: datetime
    end: datetime

    @classmethod
    def with_defaults(
        cls, *, bucket: str, start: datetime | None, end: datetime | None, now: datetime
    ) -> "Period":
        """Return a period. A missing bound is derived from the bucket's default length.

        Args:
            bucket: `raw`, `hour` or `day`.

        Raises:
            InvalidQuery: the period is empty, or longer than the bucket allows.
        """
        try:
            end = end or (start + DEFAULT_PERIOD[bucket] if start else now)
            start = start or end - DEFAULT_PERIOD[bucket]
        except OverflowError as error:
            message = "The time must be between the years 1 and 9999."
            raise InvalidQuery(message, field="from") from error
        if start >= end:
            raise InvalidQuery("The end must be after the start.", field="to")
        if end - start > MAX_PERIOD[bucket]:
            days = MAX_PERIOD[bucket].days
            message = f"The period may have at most {days:,} days."
            raise InvalidQuery(message, field="from")
        return cls(start=start, end=end)


def latest(device: Device) -> AbstractSample | None:
    """Return the device's newest sample."""
    return LatestMetrics.objects.filter(device=device).first()


def samples(device: Device, period: Period) -> QuerySet[DeviceMetrics]:
    """Return the device's samples in a period."""
    return DeviceMetrics.objects.filter(
        device_id=device.pk, recorded_at__gte=period.start, recorded_at__lt=period.end
    )


def roll_ups(
    device: Device, period: Period, *, bucket: str, measures: Iterable[Measure] = MEASURES
) -> list[dict[str, Any]]:
    """Return the roll-ups of a device by hour or day, oldest first.

    Hours and days without samples are omitted. If the 95th percentile is not stored, it
    is computed from the samples. This is the case while the hour or day is not over, and
    shortly after late samples.

    Args:
        bucket: `hour` or `day`.
    """
    measures = list(measures)
    model = ROLL_UPS[bucket]
    table, samples_table = model._meta.db_table, DeviceMetrics._meta.db_table
    names = [measure.name for measure in measures]
    columns = ", ".join(map(_aggregate_columns, names))
    with connections[list_database()].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT r.starts_at, r.samples, r.app_version, {columns}
            FROM {table} r LEFT JOIN LATERAL (
                SELECT {", ".join(map(percentile_sql, names))} FROM {samples_table} s
                WHERE r.p95_due_at IS NOT NULL AND s.device_id = r.device_id
                    AND s.recorded_at >= r.starts_at
                    AND s.recorded_at < r.starts_at + interval '1 {bucket}'
            ) exact ON true
            WHERE r.device_id = %(device)s AND r.tenant_id = %(tenant)s
                AND r.starts_at >= date_trunc(%(bucket)s, %(start)s, 'UTC')
                AND r.starts_at < %(end)s
            ORDER BY r.starts_at
            """,
            {
                "device": device.pk,
                "tenant": device.tenant_id,
                "bucket": bucket,
                "start": period.start,
                "end": period.end,
            },
        )
        rows = cursor.fetchall()
    return [_roll_up_values(row, measures) for row in rows]


def _aggregate_columns(name: str) -> str:
    """Return SQL for the columns of one measure, in the order of `AGGREGATES`."""
    return (
        f"r.{name}_count, r.{name}_sum / nullif(r.{name}_count, 0), r.{name}_least,"
        f" r.{name}_most, CASE WHEN r.p95_due_at IS NULL THEN r.{name}_p95"
        f" ELSE exact.{name} END"
    )


def percentile_sql(name: str) -> str:
    """Return SQL that interpolates the 95th percentile of a column between samples."""
    return f"percentile_cont(0.95) WITHIN GROUP (ORDER BY s.{name}) AS {name}"


def sample_values(sample: AbstractSample) -> dict[str, Any]:
    """Return a sample in the JSON format of devices, plus the computed columns."""
    values: dict[str, Any] = {
        "recorded_at": sample.recorded_at,
        "received_at": sample.received_at,
        "device_time": sample.device_time,
    }
    for field in FIELDS:
        value = getattr(sample, field.column)
        if len(field.path) == 1:
            values[field.path[0]] = value
        else:
            values.setdefault(field.path[0], {})[field.path[1]] = value
    return values | {
        "ram_usage": sample.ram_usage,
        "storage_usage": sample.storage_usage,
        "extra": sample.extra,
    }


def _roll_up_values(row: tuple[Any, ...], measures: list[Measure]) -> dict[str, Any]:
    values: dict[str, Any] = dict(
        zip(("starts_at", "samples", "app_version"), row[:3], strict=True)
    )
    size = len(AGGREGATES)
    for number, measure in enumerate(measures):
        aggregates = row[3 + size * number : 3 + size * (number + 1)]
        values[measure.name] = dict(zip(AGGREGATES, aggregates, strict=True))
    return values
