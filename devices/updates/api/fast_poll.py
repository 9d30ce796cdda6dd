"""`GET /devices/me/update` of a device for which no update is waiting."""

from core.fast_requests import FastAnswer, FastKind, FastQuestion, FastRequest, Row
from tenants.api.throttles import limits_of_device


class FastUpdatePoll(FastKind):
    """The usual poll, whose answer is 204."""

    method = "GET"
    path = "/devices/me/update"
    status = 204
    statement = """
        SELECT asked.place, device.id, device.tenant_id
        FROM unnest($1::text[]) WITH ORDINALITY AS asked (digest, place)
        JOIN devices_devicetoken token ON token.digest = asked.digest
        JOIN tenants_tenant tenant
            ON tenant.id = token.tenant_id AND tenant.suspended_at IS NULL
        JOIN devices_device device
            ON device.id = token.device_id AND device.tenant_id = token.tenant_id
        LEFT JOIN devices_nextsteps steps ON steps.device_id = device.id
        WHERE device.quarantined_at IS NULL AND device.status <> 'retired'
            AND NOT coalesce(steps.update_waiting, false)
    """

    def question(self, request: FastRequest) -> FastQuestion | None:
        return FastQuestion((request.digest,))

    def answer(self, facts: None, row: Row) -> FastAnswer | None:
        tenant_id = str(row["tenant_id"])
        return FastAnswer(limits_of_device(str(row["id"]), tenant_id), tenant_id=tenant_id)
