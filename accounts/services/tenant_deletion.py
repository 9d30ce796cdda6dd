"""Ask for the deletion of a tenant.

Within the waiting time, `suspension.resume` keeps the tenant. After that, a worker deletes it, see
`provisioning.tenant_deletion`.
"""

from datetime import datetime, timedelta

from django.db import transaction

from accounts.errors import DeletionNotConfirmed
from accounts.events import TenantDeletionRequested
from accounts.services import suspension
from core.times import utc_text
from events.services.outbox import record
from tenants.models import Tenant

WAITING_TIME = timedelta(days=14)


@transaction.atomic
def request(*, tenant: Tenant, typed_slug: str, by_operator: bool, now: datetime) -> Tenant:
    """Suspend a tenant, and let a worker delete it after the waiting time.

    Args:
        typed_slug: what the person has typed to confirm it: the slug of the tenant.

    Raises:
        DeletionNotConfirmed: it is not the slug.
    """
    if typed_slug != tenant.slug:
        raise DeletionNotConfirmed
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    row.deletion_due_at = row.deletion_due_at or now + WAITING_TIME
    row.save(update_fields=["deletion_due_at"])
    reason = f"It will be deleted on {row.deletion_due_at:%Y-%m-%d}."
    suspension.suspend(tenant=row, reason=reason, by_operator=by_operator, now=now)
    due = utc_text(row.deletion_due_at)
    record([TenantDeletionRequested(tenant_id=row.pk, at=now, due_at=due)])
    row.refresh_from_db()
    return row
