"""`GET /devices/me/configuration` of a device that has the current version."""

import re

from core.fast_requests import FastAnswer, FastKind, FastQuestion, FastRequest, Row
from devices.configurations.documents import EMPTY_VERSION
from devices.configurations.services.connect_response import has_layers
from tenants.api.throttles import limits_of_device

ENTITY_TAG = re.compile(r'(?:W/)?"([\w-]{1,64})"', re.ASCII)


class FastConfigurationPoll(FastKind):
    """The usual poll, whose answer is 304."""

    method = "GET"
    path = "/devices/me/configuration"
    status = 304
    statement = f"""
        SELECT asked.place, asked.version, device.id, device.tenant_id,
            steps.configuration_version IS NOT NULL AS is_assigned,
            coalesce(revision.number, 0) AS revision
        FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (digest, version, place)
        JOIN devices_devicetoken token ON token.digest = asked.digest
        JOIN tenants_tenant tenant
            ON tenant.id = token.tenant_id AND tenant.suspended_at IS NULL
        JOIN devices_device device
            ON device.id = token.device_id AND device.tenant_id = token.tenant_id
        LEFT JOIN devices_nextsteps steps ON steps.device_id = device.id
        LEFT JOIN tenants_tenantrevision revision ON revision.tenant_id = device.tenant_id
        WHERE device.quarantined_at IS NULL AND device.status <> 'retired'
            AND coalesce(steps.configuration_version, '{EMPTY_VERSION}') = asked.version
    """

    def question(self, request: FastRequest) -> FastQuestion | None:
        tag = ENTITY_TAG.fullmatch(request.header("if-none-match") or "")
        return None if tag is None else FastQuestion((request.digest, tag[1]))

    def answer(self, facts: None, row: Row) -> FastAnswer | None:
        if not row["is_assigned"] and has_layers.get(row["tenant_id"], row["revision"]):
            return None
        headers = {"etag": f'"{row["version"]}"'}
        tenant_id = str(row["tenant_id"])
        limits = limits_of_device(str(row["id"]), tenant_id)
        return FastAnswer(limits, headers=headers, tenant_id=tenant_id)
