"""A tenant's remote control policy: allowed command types and the blast radius."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from core.locks import transaction_lock
from devices.remote_control.command_types import TYPES
from devices.remote_control.errors import InvalidPolicy
from devices.remote_control.events import RemoteControlPolicyChanged
from devices.remote_control.models import RemoteControlPolicy
from devices.remote_control.models.policies import SCREENSHOT_INTERVALS
from events.services.outbox import record
from tenants.context import current_tenant_id

MAX_BLAST_RADIUS = 1_000_000  # devices


def of_tenant() -> RemoteControlPolicy:
    """Return the current tenant's policy, or the default policy if it has none."""
    policy = RemoteControlPolicy.objects.first()
    return policy or RemoteControlPolicy()


@transaction.atomic
def change(
    *,
    allowed_types: Collection[str] | None = None,
    blast_radius: int | None = None,
    screenshot_minutes: int | None = None,
    now: datetime,
) -> RemoteControlPolicy:
    """Change the current tenant's policy.

    Args:
        allowed_types: names of command types; None leaves them unchanged.
        blast_radius: devices that a bulk command may reach without confirmation by a
            second member; None leaves it unchanged.
        screenshot_minutes: one of `SCREENSHOT_INTERVALS`; None leaves it unchanged.

    Raises:
        InvalidPolicy: a type does not exist, or a number is out of range.
    """
    transaction_lock(f"remote control policy of {current_tenant_id()}")
    policy = of_tenant()
    given: dict[str, Any] = {
        "allowed_types": None if allowed_types is None else _sorted_types(allowed_types),
        "blast_radius": blast_radius,
        "screenshot_minutes": screenshot_minutes,
    }
    values = {name: value for name, value in given.items() if value is not None}
    _check_numbers(values)
    changes = {
        name: (getattr(policy, name), value)
        for name, value in values.items()
        if getattr(policy, name) != value
    }
    if not changes:
        return policy
    for name, value in values.items():
        setattr(policy, name, value)
    policy.updated_at = now
    policy.save()
    tenant_id = current_tenant_id()
    record([RemoteControlPolicyChanged(tenant_id=tenant_id, at=now, changes=changes)])
    return policy


def _check_numbers(values: Mapping[str, Any]) -> None:
    """Check the numbers among the values to change.

    Raises:
        InvalidPolicy: a number is out of range.
    """
    if values.get("screenshot_minutes", 0) not in SCREENSHOT_INTERVALS:
        intervals = ", ".join(map(str, SCREENSHOT_INTERVALS))
        raise InvalidPolicy(f"Must be one of {intervals}.", field="screenshot_minutes")
    if not 0 <= values.get("blast_radius", 0) <= MAX_BLAST_RADIUS:
        raise InvalidPolicy(
            f"The blast radius must be from 0 to {MAX_BLAST_RADIUS:,} devices.",
            field="blast_radius",
        )


def _sorted_types(names: Collection[str]) -> list[str]:
    if unknown := sorted(set(names) - set(TYPES)):
        raise InvalidPolicy(f"Command type {unknown[0]!r} does not exist.", field="allowed_types")
    return [name for name in TYPES if name in names]
