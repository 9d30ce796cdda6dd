"""Test helpers for remote control: members, devices, commands and screenshots."""

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


def online_device(tenant: Tenant, **fields: Any) -> Device:
    device: Device = DeviceFactory.create(tenant=tenant, status="online", **fields)
    return device


def create_member(tenant: Tenant, role: Role = Role.OPERATOR) -> User:
    user: User = MembershipFactory.create(tenant=tenant, role=role).user
    return user


def issue_command(
    device: Device, type: str, *, by: User, now: datetime, **arguments: Any
) -> CommandHistory:
    """Issue a command to a device as a member."""
    parameters = arguments.pop("parameters", {})
    with tenant_scope(device.tenant_id):
        return issuing.issue(
            device=device, type=type, parameters=parameters, by=by, now=now, **arguments
        )


def claims(signed: str) -> dict[str, Any]:
    """Return the claims of a JWS without verifying it."""
    payload = signed.split(".")[1]
    result: dict[str, Any] = json.loads(decoded(payload))
    return result


def decoded(text: str) -> bytes:
    """Decode base64url without padding."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def picture(format: str = "PNG", size: tuple[int, int] = (64, 36)) -> bytes:
    """Return an image file."""
    data = io.BytesIO()
    Image.new("RGB", size, "navy").save(data, format)
    return data.getvalue()


def errors(response: Any) -> tuple[int, list[tuple[str, str | None]]]:
    """Return the status of an error response, and the code and field of each error."""
    details = response.json()["errors"]
    return response.status_code, [(error["code"], error["attr"]) for error in details]


def create_remote_control_rows(
    device: Device, now: datetime, *, by: User
) -> tuple[CommandHistory, BulkCommand, Screenshot]:
    """Create a command, a bulk command that waits for confirmation, and a screenshot."""
    common: dict[str, Any] = {"type": "screenshot", "expires_at": now + timedelta(days=1)}
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
