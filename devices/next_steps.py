"""What a device should do next: written by the rooms above, told at `connect`."""

from datetime import datetime
from typing import Any

from devices.models import Device, NextSteps


def announce(device: Device, **steps: Any) -> None:
    """Set some columns of `NextSteps`, within the transaction that makes them true."""
    NextSteps.every_tenant.bulk_create(
        [NextSteps(device=device, tenant_id=device.tenant_id, **steps)],
        update_conflicts=True,
        unique_fields=["device"],
        update_fields=list(steps),
    )


def told(steps: NextSteps | None, *, now: datetime) -> dict[str, Any]:
    """The same as the answer of `connect` says it; `steps` None when nothing was announced."""
    if steps is None:
        return {
            "configuration_version": None,
            "commands_waiting": 0,
            "update_waiting": False,
            "certificate_renewal_due": False,
            "certificate_serial_number": None,
        }
    due_at = steps.certificate_renewal_due_at
    return {
        "configuration_version": steps.configuration_version,
        "commands_waiting": steps.commands_waiting,
        "update_waiting": steps.update_waiting,
        "certificate_renewal_due": due_at is not None and due_at <= now,
        "certificate_serial_number": steps.certificate_serial_number,
    }
