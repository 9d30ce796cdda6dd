"""Aggregate measures across the devices of the current tenant."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from django.db import connections

from core.list_database import list_database
from core.statement_limit import statement_limit
from core.times import utc_text
from devices.metrics.errors import InvalidQuery
from devices.metrics.measures import Measure
from devices.metrics.models import ROLL_UPS
from devices.metrics.services.history import Period
from devices.registry.models import Device, DeviceTag, Tag
from tenants.context import current_tenant_id

By = Literal["", "app_version", "model", "tag", "hour", "day"]
GROUPINGS: tuple[By, ...] = ("", "app_version", "model", "tag", "hour", "day")
MAX_SECONDS = 10.0  # for the statement
MAX_GROUPS = 1_200  # three years of days
MAX_HOURLY_PERIOD = timedelta(days=7)
MAX_PERIOD_FROM_HOURS = timedelta(days=4)  # longer periods use the daily roll-ups

_GROUP_KEYS = {
    "": "''",
    "app_version": "by_device.app_version",
    "model": "device.model",
    "tag": "tag.name",
    "hour": "by_device.starts_at",
    "day": "by_device.starts_at",
}


@dataclass(frozen=True, slots=True)
class Group:
    """The aggregates of one group of devices.

    95 % of the devices have an average at or below `p95`.
    """

    value: str  # the value of the grouping; times are in ISO 8601
    devices: int
    samples: int
    average: float
    minimum: float
    maximum: float
    p95: float


def aggregate(
    measure: Measure, period: Period, *, by: By = "", **filters: str | None
) -> list[Group]:
    """Aggregate a measure over a period. Return one group for each value of the grouping.

    Groups are sorted by number of samples, the largest first. Groups by hour or day are
    sorted by time. The app version of an hour or day is the version that sent the
    newest sample. The model and the tags are the current values. A device with several tags
    is counted in the group of each tag.

    Args:
        by: the kind of grouping; "" for a single group.
        filters: the `model`, `app_version` or `tag` of the devices to include.

    Raises:
        InvalidQuery: the period is too long for grouping by hour.
        TakesTooLong: the devices have too many roll-ups in the period.
    """
    if by == "hour" and period.end - period.start > MAX_HOURLY_PERIOD:
        days = MAX_HOURLY_PERIOD.days
        message = f"Grouping by hour allows a period of at most {days} days."
        raise InvalidQuery(message, field="from")
    bucket = by if by in ROLL_UPS else _bucket(period)
    values = {
        "tenant": current_tenant_id(),
        "bucket": bucket,
        "start": period.start,
        "end": period.end,
        **filters,
    }
    too_long = "This takes too long. Choose a shorter period or a filter, or group by day."
    with statement_limit(MAX_SECONDS, too_long), connections[list_database()].cursor() as cursor:
        cursor.execute(_aggregate_sql(measure.name, bucket, by, filters), values)
        rows = cursor.fetchall()
    return [Group(_text(row[0]), row[1], int(row[2]), *row[3:]) for row in rows]


def _aggregate_sql(name: str, bucket: str, by: By, filters: Mapping[str, str | None]) -> str:
    # Aggregating within each device first makes count(*) the number of devices and
    # gives each device the same weight in the percentile.
    columns = ["device_id"]
    columns += ["app_version"] if by == "app_version" else []
    columns += ["starts_at"] if by in ROLL_UPS else []
    return f"""
        WITH by_device AS (
            SELECT {", ".join(columns)}, sum({name}_count) AS count,
                sum({name}_sum) AS total, min({name}_least) AS minimum,
                max({name}_most) AS maximum
            FROM {ROLL_UPS[bucket]._meta.db_table}
            WHERE {_tenant_condition()} AND {name}_count > 0
                AND starts_at >= date_trunc(%(bucket)s, %(start)s, 'UTC')
                AND starts_at < %(end)s {_filter_conditions(filters)}
            GROUP BY {", ".join(columns)}
        )
        SELECT {_GROUP_KEYS[by]}, count(*), sum(count), sum(total) / sum(count),
            min(minimum), max(maximum),
            percentile_cont(0.95) WITHIN GROUP (ORDER BY total / count)
        FROM by_device {_join(by)}
        GROUP BY 1 ORDER BY {"1" if by in ROLL_UPS else "3 DESC, 1"}
        LIMIT {MAX_GROUPS}
    """


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return utc_text(value)
    return str(value)


def _tenant_condition() -> str:
    """Return SQL for the current tenant's rows.

    Without a current tenant, row-level security alone decides which rows are visible.
    """
    return "true" if current_tenant_id() is None else "tenant_id = %(tenant)s"


def _bucket(period: Period) -> str:
    is_short = period.end - period.start <= MAX_PERIOD_FROM_HOURS
    return "hour" if is_short else "day"


def _join(by: By) -> str:
    device, device_tag, tag = (model._meta.db_table for model in (Device, DeviceTag, Tag))
    if by == "model":
        return f"JOIN {device} device ON device.id = by_device.device_id"
    if by == "tag":
        return (
            f"JOIN {device_tag} device_tag"
            " ON device_tag.device_id = by_device.device_id"
            f" JOIN {tag} tag ON tag.id = device_tag.tag_id"
        )
    return ""


def _filter_conditions(filters: Mapping[str, str | None]) -> str:
    device, device_tag, tag = (model._meta.db_table for model in (Device, DeviceTag, Tag))
    sql = ""
    if filters.get("app_version") is not None:
        sql += " AND app_version = %(app_version)s"
    if filters.get("model") is not None:
        sql += (
            f" AND device_id IN (SELECT id FROM {device}"
            " WHERE tenant_id = %(tenant)s AND model = %(model)s)"
        )
    if filters.get("tag") is not None:
        sql += (
            f" AND device_id IN (SELECT device_id FROM {device_tag} device_tag"
            f" JOIN {tag} tag ON tag.id = device_tag.tag_id"
            " WHERE tag.tenant_id = %(tenant)s AND tag.name = %(tag)s)"
        )
    return sql


@dataclass(frozen=True, slots=True)
class Hour:
    """How many devices reported in an hour, and the averages over all of them."""

    starts_at: datetime
    devices: int
    averages: dict[str, float | None]  # by measure name


def fleet_by_hour(measures: Iterable[Measure], period: Period) -> list[Hour]:
    """Return hourly averages of the fleet for charts, oldest first, in one query."""
    names = [measure.name for measure in measures]
    table = ROLL_UPS["hour"]._meta.db_table
    averages = ", ".join(f"sum({name}_sum) / nullif(sum({name}_count), 0)" for name in names)
    with connections[list_database()].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT starts_at, count(*), {averages} FROM {table}
            WHERE {_tenant_condition()} AND starts_at >= %(start)s AND starts_at < %(end)s
            GROUP BY starts_at ORDER BY starts_at
            """,
            {"tenant": current_tenant_id(), "start": period.start, "end": period.end},
        )
        rows = cursor.fetchall()
    return [
        Hour(starts_at, devices, dict(zip(names, values, strict=True)))
        for starts_at, devices, *values in rows
    ]
