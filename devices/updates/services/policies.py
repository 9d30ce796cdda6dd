"""Read and change a tenant's update policy."""

from datetime import datetime

from django.db import transaction

from core.locks import transaction_lock
from devices.updates.errors import InvalidUpdatePolicy
from devices.updates.events import UpdatePolicyChanged
from devices.updates.models import UpdatePolicy
from events.services.outbox import record
from tenants.context import current_tenant_id

LIMITS = {"approval_above": (0, 10_000_000), "concurrent_downloads": (1, 100_000)}


def current_policy() -> UpdatePolicy:
    """Return the current tenant's policy. A tenant without a policy has the defaults."""
    policy = UpdatePolicy.objects.first()
    return policy or UpdatePolicy()


@transaction.atomic
def change(
    *, approval_above: int | None = None, concurrent_downloads: int | None = None, now: datetime
) -> UpdatePolicy:
    """Change the given limits of the current tenant's policy.

    Args:
        approval_above: number of devices above which a rollout needs an approval.
        concurrent_downloads: number of devices that may download at the same time.

    Raises:
        InvalidUpdatePolicy: a limit is out of range.
    """
    transaction_lock(f"update policy of {current_tenant_id()}")
    policy = current_policy()
    values = {"approval_above": approval_above, "concurrent_downloads": concurrent_downloads}
    changes = {}
    for name, value in values.items():
        if value is None or value == getattr(policy, name):
            continue
        minimum, maximum = LIMITS[name]
        if not minimum <= value <= maximum:
            sentence = f"The value must be between {minimum:,} and {maximum:,}."
            raise InvalidUpdatePolicy(sentence, field=name)
        changes[name] = (getattr(policy, name), value)
        setattr(policy, name, value)
    if changes:
        policy.updated_at = now
        policy.save()
        tenant_id = current_tenant_id()
        record([UpdatePolicyChanged(tenant_id=tenant_id, at=now, changes=changes)])
    return policy
