"""What is told of a device's samples: the newest, a range, and roll-ups of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from devices.metrics.errors import InvalidQuestion
from devices.metrics.measures import FIELDS, MEASURES, Measure
from devices.metrics.models import ROLL_UPS, DeviceMetrics, LatestMetrics, Reported
from devices.registry.models import Device

LONGEST = {
    "raw": timedelta(days=93),
    "hour": timedelta(days=93),
    "day": timedelta(days=1100),
}
PARTS = ("count", "average", "minimum", "maximum", "p95")
USUAL = {"raw": timedelta(days=1), "hour": timedelta(days=7), "day": timedelta(days=90)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From a moment, with it, to another, without it."""

    start: datetime
    end: datetime

    @classmethod
    def asked(
        cls, *, bucket: str, start: datetime | None, end: datetime | None, now: datetime
    ) -> "Period":
        """The period that is meant when a part of it is left out.

        Raises:
            InvalidQuestion: it is empty, or longer than one answer may be.
        """
        try:
            end = end or (start + USUAL[bucket] if start else now)
            start = start or end - USUAL[bucket]
        except OverflowError as error:
            raise InvalidQuestion("There is no such time.", field="from") from error
        if start >= end:
            raise InvalidQuestion("It ends before it begins.", field="to")
        if end - start > LONGEST[bucket]:
            days = LONGEST[bucket].days
            raise InvalidQuestion(f"At most {days:,} days at once.", field="from")
        return cls(start=start, end=end)


def latest(device: Device) -> Reported | None:
    """The device's newest sample."""
    found: Reported | None = LatestMetrics.objects.filter(device=device).first()
    return found


def samples(device: Device, period: Period) -> QuerySet[DeviceMetrics]:
    """The device's samples of a period."""
    found: QuerySet[DeviceMetrics] = DeviceMetrics.objects.filter(
        device_id=device.pk,
        recorded_at__gte=period.start,
        recorded_at__lt=period.end,
    )
    return found


def rolled_up(
    device: Device,
    period: Period,
    *,
    bucket: str,
    measures: Iterable[Measure] = MEASURES,
) -> list[dict[str, Any]]:
    """What each hour or day came to, oldest first; those without a sample are left out.

    The 95th percentile of a time that is not over, or got late samples a moment ago, is
    made here from the samples.
    """
    measures = list(measures)
    model = ROLL_UPS[bucket]
    table, samples_of = model._meta.db_table, DeviceMetrics._meta.db_table
    names = [measure.name for measure in measures]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT r.starts_at, r.samples, r.app_version, {", ".join(map(_told, names))}
            FROM {table} r LEFT JOIN LATERAL (
                SELECT {", ".join(map(percentile, names))} FROM {samples_of} s
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
    return [_bucket(row, measures) for row in rows]


def _told(name: str) -> str:
    """SQL: what a roll-up says of a measure, in the order of `PARTS`."""
    return (
        f"r.{name}_count, r.{name}_sum / nullif(r.{name}_count, 0), r.{name}_least,"
        f" r.{name}_most, CASE WHEN r.p95_due_at IS NULL THEN r.{name}_p95"
        f" ELSE exact.{name} END"
    )


def percentile(name: str) -> str:
    """SQL: the value below or at which 95 of 100 samples lie, between two of them."""
    return f"percentile_cont(0.95) WITHIN GROUP (ORDER BY s.{name}) AS {name}"


def shown(sample: Reported) -> dict[str, Any]:
    """A sample in the JSON in which it came, with what was made of it."""
    told: dict[str, Any] = {
        "recorded_at": sample.recorded_at,
        "received_at": sample.received_at,
        "device_time": sample.device_time,
    }
    for field in FIELDS:
        value = getattr(sample, field.column)
        if len(field.place) == 1:
            told[field.place[0]] = value
        else:
            told.setdefault(field.place[0], {})[field.place[1]] = value
    return told | {
        "ram_usage": sample.ram_usage,
        "storage_usage": sample.storage_usage,
        "extra": sample.extra,
    }


def _bucket(row: tuple[Any, ...], measures: list[Measure]) -> dict[str, Any]:
    told: dict[str, Any] = dict(
        zip(("starts_at", "samples", "app_version"), row[:3], strict=True)
    )
    size = len(PARTS)
    for number, measure in enumerate(measures):
        values = row[3 + size * number : 3 + size * (number + 1)]
        told[measure.name] = dict(zip(PARTS, values, strict=True))
    return told
