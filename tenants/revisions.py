"""Cache facts of tenants until they change.

Each request of a device needs facts of its tenant, such as the preferences. A process keeps
them as long as the tenant's revision is the same. The revision is read together with the
device's credential, so this needs no query of its own.

Whoever changes such a fact increments the revision in the same transaction, before it locks
rows of devices, and does not read the fact afterwards: the transaction may be rolled back, and
its revision given to another change.
"""

from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

from django.db import connection

from tenants.context import current_tenant_id, every_tenant_scope
from tenants.models import TenantRevision

MAX_TENANTS = 100_000  # kept by one process

T = TypeVar("T")


class TenantFact(Generic[T]):
    """A fact of each tenant.

    Args:
        read: returns the fact of the current tenant. Its queries run if the process does not
            have the fact of the requested revision.
    """

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._facts: dict[UUID, tuple[int, T]] = {}

    def get(self, tenant_id: UUID, revision: int) -> T:
        """Return the fact of the current tenant.

        Args:
            revision: the tenant's revision. It was read before the call, so a concurrent
                change leads to one more read, not to an outdated fact.
        """
        known = self._facts.get(tenant_id)
        if known is None or known[0] != revision:
            if len(self._facts) >= MAX_TENANTS:
                self._facts.clear()
            known = self._facts[tenant_id] = revision, self._read()
        return known[1]


def increment() -> None:
    """Increment the revision of the current tenant."""
    _increment("SELECT %s::uuid", [str(current_tenant_id())])


def increment_all() -> None:
    """Increment the revision of every tenant."""
    with every_tenant_scope():
        _increment("SELECT id FROM tenants_tenant ORDER BY id", [])


def revision_of(tenant_id: UUID) -> int:
    """Return a tenant's revision. It is 0 until the first change."""
    numbers = TenantRevision.every_tenant.filter(tenant=tenant_id).values_list("number", flat=True)
    return numbers.first() or 0


def _increment(tenants: str, values: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO tenants_tenantrevision AS existing (tenant_id, number)"
            f" SELECT changed.*, 1 FROM ({tenants}) changed"
            " ON CONFLICT (tenant_id) DO UPDATE SET number = existing.number + 1",
            values,
        )
