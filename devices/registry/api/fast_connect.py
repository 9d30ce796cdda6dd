"""`POST /devices/connect` of a device that is online and unchanged."""

import json
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, NamedTuple

from core.fast_requests import FastAnswer, FastKind, FastQuestion, FastRequest, Row
from devices.registry.api.connect_answer import connect_answer
from devices.registry.api.serializers import MAX_REPORT_NUMBER
from devices.registry.clones import MAX_COUNTER_GAP
from devices.registry.queries import NEXT_STEPS_COLUMNS, device_with_steps
from devices.registry.services.presence import connect_fields
from tenants.api.throttles import limits_of_device

TEXTS = ("app_version", "os_version", "boot_id")
FIELDS = {*TEXTS, "ip_address", "report_number"}
MAX_BODY = 2048  # bytes
# The answer depends on these columns of the device.
DEVICE_FIELDS = ("id", "tenant_id", "quarantined_at", "model")
_DEVICE = ", ".join(f"device.{name}" for name in DEVICE_FIELDS)
_STEPS = ", ".join(f"steps.{name}" for name in NEXT_STEPS_COLUMNS)


class FastConnect(FastKind):
    """The usual connect, which writes `last_seen` and the report number only.

    A device whose row is locked, or whose facts or status would change, goes the ordinary way.
    So a change of the status is recorded in one place. See `presence.connect`.
    """

    method = "POST"
    path = "/devices/connect"
    status = 200
    statement = f"""
        WITH asked AS MATERIALIZED (
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                $6::bigint[]) WITH ORDINALITY
            AS asked (digest, app_version, os_version, boot_id, address, report_number, place)
        ), found AS MATERIALIZED (
            SELECT asked.place, asked.report_number, device.ctid AS location, device.id,
                device.tenant_id
            FROM asked
            JOIN devices_devicetoken token ON token.digest = asked.digest
            JOIN tenants_tenant tenant
                ON tenant.id = token.tenant_id AND tenant.suspended_at IS NULL
            JOIN devices_device device
                ON device.id = token.device_id AND device.tenant_id = token.tenant_id
            WHERE device.status = 'online' AND device.quarantined_at IS NULL
                AND coalesce(asked.app_version, device.app_version) = device.app_version
                AND coalesce(asked.os_version, device.os_version) = device.os_version
                AND coalesce(asked.boot_id, device.boot_id) = device.boot_id
                AND (asked.address IS NULL OR asked.address::inet = device.ip_address)
                AND (asked.boot_id IS NOT NULL OR asked.report_number IS NULL
                    OR device.report_number IS NULL
                    OR asked.report_number - device.report_number
                        BETWEEN 0 AND {MAX_COUNTER_GAP})
            FOR NO KEY UPDATE OF device SKIP LOCKED
        ), updated AS (
            -- The row is locked, so its location stays the same.
            UPDATE devices_device device SET last_seen = now(),
                report_number = coalesce(found.report_number, device.report_number)
            FROM found WHERE device.ctid = found.location AND device.id = found.id
            RETURNING found.place, {_DEVICE}
        )
        SELECT device.place, now() AS now, {_DEVICE}, {_STEPS}, revision.number
        FROM updated AS device
        LEFT JOIN devices_nextsteps steps ON steps.device_id = device.id
        LEFT JOIN tenants_tenantrevision revision ON revision.tenant_id = device.tenant_id
    """

    def question(self, request: FastRequest) -> FastQuestion | None:
        if not request.has_json:
            return None
        message = _message(request.body) if len(request.body) <= MAX_BODY else None
        if message is None:
            return None
        # Without an address, such as over MQTT, the stored one stays.
        address = message.address or request.address
        return FastQuestion((request.digest, *message.texts, address, message.report_number))

    def answer(self, facts: None, row: Row) -> FastAnswer | None:
        _, now, *columns = row.values()
        device = device_with_steps(columns, DEVICE_FIELDS)
        steps = connect_fields(device, now=now)
        content = _encode(connect_answer(device, steps, ignored=[], now=now))
        tenant_id = str(device.tenant_id)
        limits = limits_of_device(str(device.pk), tenant_id)
        return FastAnswer(limits, content.encode(), tenant_id=tenant_id)


class _Message(NamedTuple):
    texts: tuple[str | None, ...]  # the values of `TEXTS`
    address: str | None
    report_number: int | None


@lru_cache(maxsize=10_000)  # the messages of many devices are the same
def _message(body: bytes) -> _Message | None:
    """Return a usual message, None if the ordinary way must look at it."""
    try:
        message = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not message.keys() <= FIELDS:
        return None
    texts = [message.get(name, "") for name in TEXTS]
    number = message.get("report_number", 0)
    if not all(type(text) is str for text in texts) or type(number) is not int:
        return None
    if not "".join(texts).isprintable() or message.get("boot_id") == "":
        return None
    address = _normalised(message["ip_address"]) if "ip_address" in message else ""
    if address is None or not 0 <= number < MAX_REPORT_NUMBER:
        return None
    return _Message(
        tuple(text or None for text in texts), address or None, message.get("report_number")
    )


def _normalised(address: Any) -> str | None:
    if not isinstance(address, str) or "%" in address:  # PostgreSQL knows no zones
        return None
    try:
        return str(ip_address(address))
    except ValueError:
        return None


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
