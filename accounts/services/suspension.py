"""Suspend and resume tenants: their devices and members are refused, and nothing is deleted."""

from datetime import datetime

from django.db import transaction

from accounts.errors import DeletionHasBegun, InvalidTenant, SuspendedByOperator
from accounts.events import TenantDeletionCancelled, TenantResumed, TenantSuspendedEvent
from events.services.outbox import record
from tenants import suspension
from tenants.models import Tenant

MAX_REASON = 200  # characters
STATE = ("suspended_at", "suspension_reason", "is_suspended_by_operator")


@transaction.atomic
def suspend(*, tenant: Tenant, reason: str, by_operator: bool, now: datetime) -> Tenant:
    """Suspend a tenant. A suspended tenant gets the new reason.

    Args:
        reason: shown to the members.
        by_operator: whether only an operator can resume it.

    Raises:
        InvalidTenant: the reason is too long.
    """
    if len(reason) > MAX_REASON:
        sentence = f"A reason has at most {MAX_REASON} characters."
        raise InvalidTenant(sentence, field="reason")
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    row.suspended_at = row.suspended_at or now
    row.suspension_reason = reason.strip()
    row.is_suspended_by_operator = by_operator or row.is_suspended_by_operator
    row.save(update_fields=STATE)
    record([TenantSuspendedEvent(tenant_id=row.pk, at=now, reason=row.suspension_reason)])
    transaction.on_commit(suspension.forget)
    return row


@transaction.atomic
def resume(*, tenant: Tenant, by_operator: bool, now: datetime) -> Tenant:
    """Let the devices and members of a tenant work again. If it was to be deleted, it is kept.

    Raises:
        SuspendedByOperator: an operator has suspended it, and somebody else resumes it.
        DeletionHasBegun: it is too late, see `accounts.services.tenant_deletion`.
    """
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    if row.is_suspended_by_operator and not by_operator:
        raise SuspendedByOperator
    if row.suspended_at is None:
        return row
    if row.deletion_due_at is not None:
        if row.deletion_due_at <= now:
            raise DeletionHasBegun
        record([TenantDeletionCancelled(tenant_id=row.pk, at=now)])
    row.suspended_at, row.suspension_reason, row.is_suspended_by_operator = None, "", False
    row.deletion_due_at = None
    row.save(update_fields=[*STATE, "deletion_due_at"])
    record([TenantResumed(tenant_id=row.pk, at=now)])
    transaction.on_commit(suspension.forget)
    return row
