"""People who control devices, and devices that obey, for tests."""

import io
import json
from base64 import urlsafe_b64decode
from datetime import datetime
from typing import Any

from PIL import Image

from devices.models import Device
from devices.remote_control import issuing
from devices.remote_control.models import CommandHistory
from devices.tests.factories import DeviceFactory
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
