"""`POST /devices/metrics` of an online device with one usual sample."""

import json
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from core import clock
from core.fast_requests import FastAnswer, FastKind, FastQuestion, FastRequest, Row
from core.limits import Limit
from core.times import utc_text
from devices.metrics.api.parsing import BYTES, BYTES_OF_TENANT, SAMPLES, SAMPLES_OF_TENANT
from devices.metrics.queries import TABLE, as_json, sample_from, storing
from devices.metrics.sample_validation import validate_samples
from devices.metrics.sample_values import Row as Sample
from devices.metrics.services.ingest import note_stored, server_clock
from tenants.api.throttles import limits_of_device

MAX_BODY = 4096  # bytes
OLDEST = timedelta(hours=1)  # older samples may have no partition yet
# The bounds are known before the statement runs, so few partitions are opened.
_RECENT = f"""
    SELECT device_id, device_time, recorded_at FROM {TABLE}
    WHERE recorded_at BETWEEN now() - interval '2 days 2 hours' AND now() + interval '1 day'
"""
_encode = json.JSONEncoder(separators=(",", ":")).encode


class _Sample(NamedTuple):
    row: Sample
    now: datetime
    limits: tuple[tuple[Limit, Limit, int], ...]  # of the device, of the tenant, and the cost


class FastSample(FastKind):
    """The usual sample, of which every value is used as it was sent.

    A sample goes the ordinary way if its time is missing or corrected from a wrong clock. With its
    own time, it is stored once, even if the ordinary way has to answer after it was stored. The
    second sample of a device in one batch goes the ordinary way too.
    """

    method = "POST"
    path = "/devices/metrics"
    status = 200
    statement = f"""
        WITH asked AS MATERIALIZED (
            SELECT * FROM unnest($1::text[], $2::json[])
                WITH ORDINALITY AS asked (digest, sample, place)
        ), found AS MATERIALIZED (
            SELECT asked.place, asked.sample, device.ctid AS location, device.id
            FROM asked
            JOIN devices_devicetoken token ON token.digest = asked.digest
            JOIN tenants_tenant tenant
                ON tenant.id = token.tenant_id AND tenant.suspended_at IS NULL
            JOIN devices_device device
                ON device.id = token.device_id AND device.tenant_id = token.tenant_id
            WHERE device.status = 'online' AND device.quarantined_at IS NULL
            FOR NO KEY UPDATE OF device SKIP LOCKED
        ), updated AS (
            -- The row is locked, so its location stays the same.
            UPDATE devices_device device SET last_seen = now()
            FROM found WHERE device.ctid = found.location AND device.id = found.id
            RETURNING found.place, found.sample AS content, device.id AS device_id,
                device.tenant_id
        ), sample AS MATERIALIZED (
            SELECT updated.tenant_id, updated.device_id, sample.*
            FROM updated, {sample_from("json_to_record", "updated.content")}
        ), {storing(corrected=f"({_RECENT} AND device_time IS NOT NULL)", existing=f"({_RECENT})", received_at="now()")}
        SELECT updated.place, updated.device_id, updated.tenant_id,
            updated.device_id IN (SELECT device_id FROM stored) AS is_new
        FROM updated
    """

    def question(self, request: FastRequest) -> FastQuestion | None:
        limits = (SAMPLES, SAMPLES_OF_TENANT, 1), (BYTES, BYTES_OF_TENANT, len(request.body))
        if len(request.body) > MAX_BODY or not request.has_json:
            return None
        # Whether a limit is exceeded is only known after the sample was stored.
        if not all(limit.may_spend_ahead("") for *pair, _ in limits for limit in pair):
            return None
        now = clock.now()
        row = _usual_sample(request.body, now)
        if row is None:
            return None
        return FastQuestion((request.digest, as_json(row)), _Sample(row, now, limits))

    def answer(self, facts: _Sample, row: Row) -> FastAnswer | None:
        _, device_id, tenant_id, is_new = row.values()
        if is_new:
            note_stored(tenant_id, device_id, facts.row)
        answer = {
            "stored": int(is_new),
            "repeated": int(not is_new),
            "corrected": 0,
            "refused": [],
            "ignored": [],
            "server_time": utc_text(facts.now),
        }
        device, tenant = str(device_id), str(tenant_id)
        limits = [*limits_of_device(device, tenant)]
        limits += [
            item
            for of_device, of_tenant, cost in facts.limits
            for item in ((of_device, device, cost), (of_tenant, tenant, cost))
        ]
        return FastAnswer(limits, _encode(answer).encode(), tenant_id=tenant)


def _usual_sample(body: bytes, now: datetime) -> Sample | None:
    try:
        message: Any = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or "samples" in message:
        return None
    result = validate_samples([message], sent_at=None, clock=server_clock(now))
    if result.faults or result.ignored or not result.rows:
        return None
    (row,) = result.rows
    is_recent = now - OLDEST < row["recorded_at"] <= now
    return row if is_recent and row["device_time"] is None else None
