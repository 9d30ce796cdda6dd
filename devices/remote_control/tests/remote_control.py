"""People who control devices, and devices that obey, for tests."""

import io
import json
from base64 import urlsafe_b64decode
from datetime import datetime, timedelta
from typing import Any

from PIL import Image

from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from devices.remote_control.models import BulkCommand, CommandHistory, Screenshot
from devices.remote_control.services import issuing
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory


def online(tenant: Tenant, **fields: Any) -> Device:
    device: Device = DeviceFactory.create(tenant=tenant, status="online", **fields)
    return device


def person(tenant: Tenant, role: Role = Role.OPERATOR) -> User:
    user: User = MembershipFactory.create(tenant=tenant, role=role).user
    return user


def told(
    device: Device, type: str, *, by: User, now: datetime, **more: Any
) -> CommandHistory:
    """A command to a device by a person, whatever the type's parameters are."""
    parameters = more.pop("parameters", {})
    with tenant_scope(device.tenant_id):
        return issuing.issue(
            device=device, type=type, parameters=parameters, by=by, now=now, **more
        )


def claims(signed: str) -> dict[str, Any]:
    """What a JWS says, unverified."""
    payload = signed.split(".")[1]
    said: dict[str, Any] = json.loads(decoded(payload))
    return said


def decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 36)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, "navy").save(data, kind)
    return data.getvalue()


def errors(answer: Any) -> tuple[int, list[tuple[str, str | None]]]:
    said = answer.json()["errors"]
    return answer.status_code, [(one["code"], one["attr"]) for one in said]


def remote_controlled(
    device: Device, now: datetime, *, by: User
) -> tuple[CommandHistory, BulkCommand, Screenshot]:
    """A command, one to many that waits, and a picture."""
    common: dict[str, Any] = {
        "type": "screenshot",
        "expires_at": now + timedelta(days=1),
    }
    command = CommandHistory.every_tenant.create(
        tenant=device.tenant,
        device=device,
        sequence=1,
        issued_by=by.email,
        issued_at=now,
        due_at=now + timedelta(days=1),
        **common,
    )
    bulk = BulkCommand.every_tenant.create(
        tenant=device.tenant,
        state="waiting",
        found=1,
        requested_by=by,
        requested_at=now,
        worked_at=now,
        **common,
    )
    screenshot = Screenshot.every_tenant.create(
        tenant=device.tenant,
        device=device,
        command=command,
        taken_at=now,
        content_type="image/png",
        width=1,
        height=1,
        size=1,
        image=b"1",
    )
    return command, bulk, screenshot
