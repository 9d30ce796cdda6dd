"""What a measure came to across the current tenant's devices."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from django.db import connection

from devices.metrics.errors import InvalidQuestion
from devices.metrics.measures import Measure
from devices.metrics.models import ROLL_UPS
from devices.metrics.services.history import Period
from devices.registry.models import Device, DeviceTag, Tag
from tenants.context import current_tenant_id

By = Literal["", "app_version", "model", "tag", "hour", "day"]
GROUPINGS: tuple[By, ...] = ("", "app_version", "model", "tag", "hour", "day")
MOST_GROUPS = 1_200  # three years of days
MOST_HOURS = timedelta(days=7)
BY_THE_HOUR = timedelta(days=4)  # longer periods are made from days

_KEYS = {
    "": "''",
    "app_version": "one.app_version",
    "model": "device.model",
    "tag": "tag.name",
    "hour": "one.starts_at",
    "day": "one.starts_at",
}


@dataclass(frozen=True, slots=True)
class Group:
    """What the devices of one value came to.

    `p95`: 95 of 100 devices have an average at or below it.
    """

    value: str  # a time in ISO 8601
    devices: int
    samples: int
    average: float
    minimum: float
    maximum: float
    p95: float


def across(
    measure: Measure, period: Period, *, by: By = "", **only: str | None
) -> list[Group]:
    """One group for each value of `by`, those with the most samples first.

    A version is the one with which the newest sample of an hour or day came; model and
    tags are the present ones, and a device with several tags counts in each. Times are
    in order of time.

    Args:
        only: of this `model`, `app_version` or `tag`.

    Raises:
        InvalidQuestion: there are too many hours.
    """
    if by == "hour" and period.end - period.start > MOST_HOURS:
        days = MOST_HOURS.days
        raise InvalidQuestion(f"By the hour at most {days} days.", field="from")
    bucket = by if by in ROLL_UPS else _bucket(period)
    values = {
        "tenant": current_tenant_id(),
        "bucket": bucket,
        "start": period.start,
        "end": period.end,
        **only,
    }
    with connection.cursor() as cursor:
        cursor.execute(_grouped(measure.name, bucket, by, only), values)
        rows = cursor.fetchall()
    return [Group(_text(row[0]), row[1], int(row[2]), *row[3:]) for row in rows]


def _grouped(name: str, bucket: str, by: By, only: Mapping[str, str | None]) -> str:
    # Within a device first: then nothing has to be told apart twice.
    within = ["device_id"]
    within += ["app_version"] if by == "app_version" else []
    within += ["starts_at"] if by in ROLL_UPS else []
    return f"""
        WITH one AS (
            SELECT {", ".join(within)}, sum({name}_count) AS count,
                sum({name}_sum) AS total, min({name}_least) AS least,
                max({name}_most) AS most
            FROM {ROLL_UPS[bucket]._meta.db_table}
            WHERE {_whose()} AND {name}_count > 0
                AND starts_at >= date_trunc(%(bucket)s, %(start)s, 'UTC')
                AND starts_at < %(end)s {_only(only)}
            GROUP BY {", ".join(within)}
        )
        SELECT {_KEYS[by]}, count(*), sum(count), sum(total) / sum(count), min(least),
            max(most), percentile_cont(0.95) WITHIN GROUP (ORDER BY total / count)
        FROM one {_joined(by)}
        GROUP BY 1 ORDER BY {"1" if by in ROLL_UPS else "3 DESC, 1"}
        LIMIT {MOST_GROUPS}
    """


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def _whose() -> str:
    """The tenant in whose scope it is asked; without one, whom the wall lets see more."""
    return "true" if current_tenant_id() is None else "tenant_id = %(tenant)s"


def _bucket(period: Period) -> str:
    return "hour" if period.end - period.start <= BY_THE_HOUR else "day"


def _joined(by: By) -> str:
    device, worn, tag = (row._meta.db_table for row in (Device, DeviceTag, Tag))
    if by == "model":
        return f"JOIN {device} device ON device.id = one.device_id"
    if by == "tag":
        return (
            f"JOIN {worn} worn ON worn.device_id = one.device_id"
            f" JOIN {tag} tag ON tag.id = worn.tag_id"
        )
    return ""


def _only(said: Mapping[str, str | None]) -> str:
    device, worn, tags = (row._meta.db_table for row in (Device, DeviceTag, Tag))
    narrowed = ""
    if said.get("app_version") is not None:
        narrowed += " AND app_version = %(app_version)s"
    if said.get("model") is not None:
        narrowed += (
            f" AND device_id IN (SELECT id FROM {device}"
            " WHERE tenant_id = %(tenant)s AND model = %(model)s)"
        )
    if said.get("tag") is not None:
        narrowed += (
            f" AND device_id IN (SELECT device_id FROM {worn} worn"
            f" JOIN {tags} tag ON tag.id = worn.tag_id"
            " WHERE tag.tenant_id = %(tenant)s AND tag.name = %(tag)s)"
        )
    return narrowed


@dataclass(frozen=True, slots=True)
class Hour:
    """What a fleet came to within an hour: who reported, and some averages."""

    starts_at: datetime
    devices: int
    averages: dict[str, float | None]  # by measure


def by_the_hour(measures: Iterable[Measure], period: Period) -> list[Hour]:
    """The fleet over a period in one pass, oldest first; for charts."""
    names = [measure.name for measure in measures]
    table = ROLL_UPS["hour"]._meta.db_table
    averages = ", ".join(
        f"sum({name}_sum) / nullif(sum({name}_count), 0)" for name in names
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT starts_at, count(*), {averages} FROM {table}
            WHERE {_whose()} AND starts_at >= %(start)s AND starts_at < %(end)s
            GROUP BY starts_at ORDER BY starts_at
            """,
            {
                "tenant": current_tenant_id(),
                "start": period.start,
                "end": period.end,
            },
        )
        rows = cursor.fetchall()
    return [
        Hour(at, count, dict(zip(names, rest, strict=True)))
        for at, count, *rest in rows
    ]
