"""The statements that store samples, and update roll-ups and latest samples.

Only newly inserted samples are added to the roll-ups. Therefore a request that is
repeated, split or late has the same result as one request in time. A repeated sample is
recognised by the time on the device's clock, even if only one of the two copies had its
time corrected. A clock without a battery starts at the same time again after each reboot, so
such a time identifies a sample for an hour only.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from uuid import UUID

from django.db import connection

from core.prepared_statements import PreparedStatement
from devices.metrics.measures import FIELDS, MEASURES
from devices.metrics.models import ROLL_UPS, AbstractSample, DeviceMetrics, LatestMetrics, RollUp
from devices.metrics.sample_validation import EARLIEST
from devices.metrics.sample_values import Row
from devices.registry.models import Device

# These columns are not part of a sample's JSON.
_REQUEST_COLUMNS = ("tenant_id", "device_id", "received_at")
_SAMPLE_FIELDS = [
    field for field in AbstractSample._meta.local_fields if field.attname not in _REQUEST_COLUMNS
]
COLUMNS = tuple(field.attname for field in _SAMPLE_FIELDS)
TABLE = DeviceMetrics._meta.db_table
# A device may have hundreds of samples of a wrong clock, and send a thousand samples at once.
_CORRECTED_OF_DEVICE = f"""
    SELECT device_id, device_time, recorded_at FROM {TABLE}
    WHERE device_id = $2 AND device_time IS NOT NULL
        AND recorded_at > (SELECT min(recorded_at) FROM sample) - interval '2 days'
"""
# Samples that arrive within this time are included in one computation of a percentile.
PERCENTILE_DELAY = "interval '1 minute'"
_JSON_COLUMNS = {"extra", *(field.column for field in FIELDS if field.kind == "strings")}


def store(rows: Sequence[Row], *, device_id: UUID, tenant_id: UUID | None, now: datetime) -> int:
    """Store the samples that are not stored yet. Return how many were new."""
    row = _statement().fetch_one(tenant_id, device_id, now, _array(rows))
    assert row is not None
    return int(row[0])


def _array(rows: Iterable[Row]) -> str:
    """Return all rows as one JSON array. JSON text is inserted unchanged."""
    return "[" + ",".join(as_json(row) for row in rows) + "]"


def as_json(row: Row) -> str:
    """Return a sample as a JSON object, which `sample_from` reads."""
    plain = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if value is not None and name not in _JSON_COLUMNS
    }
    nested = [f'"{name}":{row[name]}' for name in _JSON_COLUMNS if row[name] is not None]
    return ",".join([json.dumps(plain)[:-1], *nested]) + "}"


def sample_from(function: str, json: str) -> str:
    """Return SQL that reads samples.

    Args:
        function: `json_to_record`, or `json_to_recordset` for an array.
        json: a parameter or column of this type.
    """
    types = ", ".join(f"{field.attname} {field.db_type(connection)}" for field in _SAMPLE_FIELDS)
    return f"{function}({json}) AS sample ({types})"


@cache
def _statement() -> PreparedStatement:
    sample = f"SELECT $1 AS tenant_id, $2 AS device_id, sample.* FROM {sample_from('json_to_recordset', '$4')}"
    return PreparedStatement(
        "store_samples",
        "uuid, uuid, timestamptz, json",
        f"""
        WITH sample AS MATERIALIZED ({sample}),
        corrected AS MATERIALIZED ({_CORRECTED_OF_DEVICE}),
        {storing(corrected="corrected", existing=TABLE, received_at="$3")}
        SELECT count(*) FROM stored
        """,
    )


def storing(*, corrected: str, existing: str, received_at: str) -> str:
    """Return the common table expressions that store `sample` as far as it is new.

    They read `sample`, which has the ids of the tenant and the device and the columns of samples.
    `stored` has the rows that were new.

    Args:
        corrected: the table or subquery of the samples whose time was corrected, at least those
            since two days before the samples.
        existing: the same of all samples, at least those since then.
        received_at: a parameter or a function.
    """
    columns = ", ".join(COLUMNS)
    return f"""
        stored AS (
            INSERT INTO {TABLE} (tenant_id, device_id, received_at, {columns})
            SELECT tenant_id, device_id, {received_at}, {columns} FROM sample
            WHERE NOT EXISTS (
                SELECT FROM {corrected} corrected
                WHERE corrected.device_id = sample.device_id
                AND corrected.device_time
                    = coalesce(sample.device_time, sample.recorded_at)
                AND (corrected.device_time >= '{EARLIEST.isoformat()}'
                    OR corrected.recorded_at > sample.recorded_at - interval '1 hour')
            ) AND (device_time IS NULL OR NOT EXISTS (
                SELECT FROM {existing} existing
                WHERE existing.device_id = sample.device_id
                    AND existing.recorded_at = sample.device_time
            ))
            ON CONFLICT DO NOTHING
            RETURNING tenant_id, device_id, received_at, {columns}
        ),
        {", ".join(_roll_up(span, model) for span, model in ROLL_UPS.items())},
        latest AS ({_latest()})
    """


def _roll_up(span: str, model: type[RollUp]) -> str:
    starts_at = f"date_trunc('{span}', recorded_at, 'UTC')"
    columns, values, updates = (["samples"], ["count(*)"], ["samples = r.samples + new.samples"])
    for name in (measure.name for measure in MEASURES):
        columns += [f"{name}_{part}" for part in ("count", "sum", "least", "most")]
        values += [f"count({name})", f"sum({name})", f"min({name})", f"max({name})"]
        total, least, most = f"{name}_sum", f"{name}_least", f"{name}_most"
        updates += [
            f"{name}_count = r.{name}_count + new.{name}_count",
            f"{total} = coalesce(r.{total} + new.{total}, r.{total}, new.{total})",
            f"{least} = least(r.{least}, new.{least})",
            f"{most} = greatest(r.{most}, new.{most})",
        ]
    return f"""
        {span}ly AS (
            INSERT INTO {model._meta.db_table} AS r (tenant_id, device_id, starts_at,
                app_version, newest_at, p95_due_at, {", ".join(columns)})
            SELECT tenant_id, device_id, {starts_at},
                (SELECT app_version FROM {Device._meta.db_table} WHERE id = stored.device_id),
                max(recorded_at),
                greatest({starts_at} + interval '1 {span}', max(received_at))
                    + {PERCENTILE_DELAY},
                {", ".join(values)}
            FROM stored GROUP BY tenant_id, device_id, {starts_at}
            ORDER BY device_id, {starts_at}
            ON CONFLICT (device_id, starts_at) DO UPDATE SET
                app_version = CASE WHEN excluded.newest_at >= r.newest_at
                    THEN excluded.app_version ELSE r.app_version END,
                newest_at = greatest(r.newest_at, excluded.newest_at),
                p95_due_at = coalesce(r.p95_due_at, excluded.p95_due_at),
                {", ".join(updates).replace("new.", "excluded.")}
        )
    """


def _latest() -> str:
    columns = ("received_at", *COLUMNS)
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f"""
        INSERT INTO {LatestMetrics._meta.db_table} AS latest_sample
            (tenant_id, device_id, {", ".join(columns)})
        SELECT DISTINCT ON (device_id) tenant_id, device_id, {", ".join(columns)} FROM stored
        ORDER BY device_id, recorded_at DESC
        ON CONFLICT (device_id) DO UPDATE SET {updates}
        WHERE latest_sample.recorded_at < excluded.recorded_at
    """
