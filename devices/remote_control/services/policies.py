"""What a tenant lets its members command, and to how many devices at once."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import transaction

from core.locks import in_turn
from devices.remote_control.command_types import TYPES
from devices.remote_control.errors import InvalidPolicy
from devices.remote_control.events import RemoteControlPolicyChanged
from devices.remote_control.models import RemoteControlPolicy
from events.services.outbox import record
from tenants.context import current_tenant_id

LARGEST_BLAST_RADIUS = 1_000_000


def of_tenant() -> RemoteControlPolicy:
    """The current tenant's policy; the usual one where it has said nothing."""
    found: RemoteControlPolicy | None = RemoteControlPolicy.objects.first()
    return found or RemoteControlPolicy()


@transaction.atomic
def change(
    *,
    allowed_types: Collection[str] | None = None,
    blast_radius: int | None = None,
    now: datetime,
) -> RemoteControlPolicy:
    """Change what is said; what is left out stays.

    Raises:
        InvalidPolicy: an unknown type, or a limit that is none.
    """
    in_turn(f"remote control policy of {current_tenant_id()}")
    policy = of_tenant()
    wanted: dict[str, Any] = {
        "allowed_types": policy.allowed_types
        if allowed_types is None
        else _in_their_order(allowed_types),
        "blast_radius": policy.blast_radius if blast_radius is None else blast_radius,
    }
    if not 0 <= wanted["blast_radius"] <= LARGEST_BLAST_RADIUS:
        raise InvalidPolicy(
            f"From 0 to {LARGEST_BLAST_RADIUS:,} devices.", field="blast_radius"
        )
    changes = {
        name: (getattr(policy, name), value)
        for name, value in wanted.items()
        if getattr(policy, name) != value
    }
    if not changes:
        return policy
    for name, value in wanted.items():
        setattr(policy, name, value)
    policy.updated_at = now
    policy.save()
    tenant_id = current_tenant_id()
    record([RemoteControlPolicyChanged(tenant_id=tenant_id, at=now, changes=changes)])
    return policy


def _in_their_order(names: Collection[str]) -> list[str]:
    if unknown := sorted(set(names) - set(TYPES)):
        raise InvalidPolicy(f"There is no type {unknown[0]!r}.", field="allowed_types")
    return [name for name in TYPES if name in names]
