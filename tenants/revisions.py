"""Cache facts of tenants until they change.

Each request of a device needs facts of its tenant, such as the preferences. A process keeps
them as long as the tenant's revision is the same. The revision is read together with the
device's credential, so this needs no query of its own.

Whoever changes such a fact increments the revision in the same transaction, before it locks
rows of devices, and does not read the fact afterwards: the transaction may be rolled back, and
its revision given to another change.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from tenants.context import (
    EVERY_TENANT,
    current_tenant_id,
    database_scope,
    every_tenant_scope,
    tenant_scope,
)
from tenants.models import Tenant, TenantRevision

MAX_TENANTS = 100_000  # kept by one process
MANY_MISSES = 20  # after which the facts of all tenants are read

T = TypeVar("T")


class TenantFact(Generic[T]):
    """A fact of each tenant.

    Usually the fact of one tenant is read. If a process does not know the facts of many tenants,
    since it has just started or something has changed for all, they are read together.

    Args:
        read: returns the facts of the tenants in the current scope by id, see `tenants_in_scope`.
            The scope is one tenant or all tenants.
    """

    def __init__(self, read: Callable[[], Mapping[UUID, T]]) -> None:
        self._read = read
        self._facts: dict[UUID, tuple[int, T]] = {}
        self._misses = 0

    def get(self, tenant_id: UUID, revision: int) -> T:
        """Return the fact of a tenant.

        Args:
            revision: the tenant's revision. It was read before the call, so a concurrent
                change leads to one more read, not to an outdated fact.
        """
        known = self._facts.get(tenant_id)
        if known is None or known[0] != revision:
            if len(self._facts) >= MAX_TENANTS:
                self._facts.clear()
            with tenant_scope(tenant_id):
                known = self._facts[tenant_id] = revision, self._read()[tenant_id]
            self._misses += 1
            if self._misses % MANY_MISSES == 0:
                with every_tenant_scope():
                    self._read_all()
        return known[1]

    def _read_all(self) -> None:
        numbers = dict(TenantRevision.every_tenant.values_list("tenant_id", "number"))
        facts = self._read()
        self._facts |= {pk: (numbers.get(pk, 0), fact) for pk, fact in facts.items()}


def tenants_in_scope() -> QuerySet[Tenant]:
    """Return the current tenant, or all tenants in the scope of all tenants."""
    tenants = Tenant.objects.order_by()
    if database_scope() == EVERY_TENANT:
        return tenants
    tenant_id = current_tenant_id()
    return tenants.none() if tenant_id is None else tenants.filter(pk=tenant_id)


def exists_for_tenant(rows: QuerySet[Any]) -> Exists:
    """Return the condition on a tenant that it has one of the rows."""
    return Exists(rows.filter(tenant=OuterRef("pk")))


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
