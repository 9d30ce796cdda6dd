"""The one statement that stores samples: rows, roll-ups and the newest, or nothing.

Only rows that were not there count in the roll-ups, so a request that comes twice, or
in pieces, or late, leaves the same as one that came once and in time. A sample is known
again by what the device's clock said, also if only one of the two copies was set right.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from uuid import UUID

from django.db import connection

from core.prepared_statements import Prepared
from devices.metrics.measures import FIELDS, MEASURES
from devices.metrics.models import (
    ROLL_UPS,
    DeviceMetrics,
    LatestMetrics,
    Reported,
    RollUp,
)
from devices.metrics.sample_validation import Row

_BESIDE = ("tenant_id", "device_id", "received_at")  # the same for all of a request
_SAID = [f for f in Reported._meta.local_fields if f.attname not in _BESIDE]
SAID = tuple(field.attname for field in _SAID)
SETTLE_AFTER = "interval '1 minute'"  # what comes within it is counted in one go
_JSON = {"extra", *(field.column for field in FIELDS if field.kind == "words")}


def store(
    rows: Sequence[Row],
    *,
    device_id: UUID,
    tenant_id: UUID | None,
    app_version: str,
    now: datetime,
) -> int:
    """Store what is not there yet; return how many samples were new."""
    row = _statement().row(tenant_id, device_id, now, app_version, _as_json(rows))
    assert row is not None
    return int(row[0])


def _as_json(rows: Iterable[Row]) -> str:
    """All rows as one value; what is JSON itself is spliced in as it is."""
    return "[" + ",".join(_one(row) for row in rows) + "]"


def _one(row: Row) -> str:
    plain = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if value is not None and name not in _JSON
    }
    nested = [f'"{name}":{row[name]}' for name in _JSON if row[name] is not None]
    return ",".join([json.dumps(plain)[:-1], *nested]) + "}"


@cache
def _statement() -> Prepared:
    columns = ", ".join(SAID)
    types = ", ".join(f"{field.attname} {field.db_type(connection)}" for field in _SAID)
    return Prepared(
        "store_samples",
        "uuid, uuid, timestamptz, text, json",
        f"""
        WITH said AS MATERIALIZED (
            SELECT * FROM json_to_recordset($5) AS said ({types})
        ),
        of_wrong_clocks AS MATERIALIZED (
            SELECT device_time FROM {DeviceMetrics._meta.db_table}
            WHERE device_id = $2 AND device_time IS NOT NULL
                AND recorded_at > (SELECT min(recorded_at) FROM said) - interval '2 days'
        ),
        stored AS (
            INSERT INTO {DeviceMetrics._meta.db_table}
                (tenant_id, device_id, received_at, {columns})
            SELECT $1, $2, $3, {columns} FROM said
            WHERE NOT EXISTS (
                SELECT FROM of_wrong_clocks known
                WHERE known.device_time = coalesce(said.device_time, said.recorded_at)
            ) AND (device_time IS NULL OR NOT EXISTS (
                SELECT FROM {DeviceMetrics._meta.db_table} known
                WHERE known.device_id = $2 AND known.recorded_at = said.device_time
            ))
            ON CONFLICT DO NOTHING
            RETURNING {columns}
        ),
        {", ".join(_roll_up(span, model) for span, model in ROLL_UPS.items())},
        latest AS ({_latest()})
        SELECT count(*) FROM stored
        """,
    )


def _roll_up(span: str, model: type[RollUp]) -> str:
    starts_at = f"date_trunc('{span}', recorded_at, 'UTC')"
    columns, made, merged = (
        ["samples"],
        ["count(*)"],
        ["samples = r.samples + new.samples"],
    )
    for name in (measure.name for measure in MEASURES):
        columns += [f"{name}_{part}" for part in ("count", "sum", "least", "most")]
        made += [f"count({name})", f"sum({name})", f"min({name})", f"max({name})"]
        total, least, most = f"{name}_sum", f"{name}_least", f"{name}_most"
        merged += [
            f"{name}_count = r.{name}_count + new.{name}_count",
            f"{total} = coalesce(r.{total} + new.{total}, r.{total}, new.{total})",
            f"{least} = least(r.{least}, new.{least})",
            f"{most} = greatest(r.{most}, new.{most})",
        ]
    return f"""
        {span}ly AS (
            INSERT INTO {model._meta.db_table} AS r (tenant_id, device_id, starts_at,
                app_version, newest_at, p95_due_at, {", ".join(columns)})
            SELECT $1, $2, {starts_at}, $4, max(recorded_at),
                greatest({starts_at} + interval '1 {span}', $3) + {SETTLE_AFTER},
                {", ".join(made)}
            FROM stored GROUP BY {starts_at} ORDER BY {starts_at}
            ON CONFLICT (device_id, starts_at) DO UPDATE SET
                app_version = CASE WHEN excluded.newest_at >= r.newest_at
                    THEN excluded.app_version ELSE r.app_version END,
                newest_at = greatest(r.newest_at, excluded.newest_at),
                p95_due_at = coalesce(r.p95_due_at, excluded.p95_due_at),
                {", ".join(merged).replace("new.", "excluded.")}
        )
    """


def _latest() -> str:
    columns = ("received_at", *SAID)
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f"""
        INSERT INTO {LatestMetrics._meta.db_table} AS known
            (tenant_id, device_id, {", ".join(columns)})
        SELECT $1, $2, $3, {", ".join(SAID)} FROM stored
        ORDER BY recorded_at DESC LIMIT 1
        ON CONFLICT (device_id) DO UPDATE SET {changes}
        WHERE known.recorded_at < excluded.recorded_at
    """
