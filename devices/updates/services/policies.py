"""What a tenant wants of its rollouts: when a second person is asked, how many download."""

from datetime import datetime

from django.db import transaction

from core.locks import in_turn
from devices.updates.errors import InvalidUpdatePolicy
from devices.updates.events import UpdatePolicyChanged
from devices.updates.models import UpdatePolicy
from events.services.outbox import record
from tenants.context import current_tenant_id

LIMITS = {"approval_above": (0, 10_000_000), "concurrent_downloads": (1, 100_000)}


def of_tenant() -> UpdatePolicy:
    """The current tenant's policy; the usual one where it has said nothing."""
    found: UpdatePolicy | None = UpdatePolicy.objects.first()
    return found or UpdatePolicy()


@transaction.atomic
def change(
    *,
    approval_above: int | None = None,
    concurrent_downloads: int | None = None,
    now: datetime,
) -> UpdatePolicy:
    """Change what is said; what is left out stays.

    Raises:
        InvalidUpdatePolicy: a limit that is none.
    """
    in_turn(f"update policy of {current_tenant_id()}")
    policy = of_tenant()
    said = {
        "approval_above": approval_above,
        "concurrent_downloads": concurrent_downloads,
    }
    changes = {}
    for name, value in said.items():
        if value is None or value == getattr(policy, name):
            continue
        least, most = LIMITS[name]
        if not least <= value <= most:
            raise InvalidUpdatePolicy(f"From {least:,} to {most:,}.", field=name)
        changes[name] = (getattr(policy, name), value)
        setattr(policy, name, value)
    if changes:
        policy.updated_at = now
        policy.save()
        tenant_id = current_tenant_id()
        record([UpdatePolicyChanged(tenant_id=tenant_id, at=now, changes=changes)])
    return policy
