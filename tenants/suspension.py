"""Whether a tenant is suspended, without a query for each request.

A process reads the suspended tenants, which are few, every five seconds. So a suspension is in
force everywhere within this time. The statements of the fast path look at the tenant themselves.
"""

import time

from tenants.context import every_tenant_scope
from tenants.errors import TenantSuspended
from tenants.models import Tenant

SECONDS = 5.0

_suspended: frozenset[str] = frozenset()
_due_at = 0.0  # monotonic time of the next reading


def is_suspended(tenant_id: object) -> bool:
    """Return whether a tenant is suspended."""
    global _due_at  # one per process
    now = time.monotonic()
    if now >= _due_at:
        _due_at = now + SECONDS  # other threads use the former set meanwhile
        _read()
    return str(tenant_id) in _suspended


def require_active(tenant_id: object) -> None:
    """Check that a tenant is not suspended.

    Raises:
        TenantSuspended: it is.
    """
    if tenant_id is not None and is_suspended(tenant_id):
        raise TenantSuspended


def forget() -> None:
    """Let this process read the suspended tenants at once, after a change."""
    global _due_at
    _due_at = 0.0


def _read() -> None:
    global _suspended
    with every_tenant_scope():
        ids = Tenant.objects.filter(suspended_at__isnull=False).order_by()
        _suspended = frozenset(str(pk) for pk in ids.values_list("pk", flat=True))
