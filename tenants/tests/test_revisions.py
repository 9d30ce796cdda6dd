"""Facts of tenants that a process keeps until they change."""

from uuid import UUID

import pytest

from tenants import revisions
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Tenant
from tenants.revisions import TenantFact
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


class Reader:
    """A fact that counts how often it is read for each tenant."""

    def __init__(self) -> None:
        self.fact = TenantFact(self.read)
        self.reads: list[object] = []

    def read(self) -> dict[UUID, int]:
        self.reads.append(current_tenant_id())
        tenants = revisions.tenants_in_scope().values_list("pk", flat=True)
        return dict.fromkeys(tenants, len(self.reads))

    def get(self, tenant: Tenant) -> int:
        with tenant_scope(tenant.pk):
            number = revisions.revision_of(tenant.pk)
        return self.fact.get(tenant.pk, number)


def test_a_fact_is_read_once_for_each_revision(tenant: Tenant) -> None:
    reader = Reader()
    assert [reader.get(tenant) for _ in range(3)] == [1, 1, 1]
    with tenant_scope(tenant.pk):
        revisions.increment()
    assert [reader.get(tenant) for _ in range(3)] == [2, 2, 2]


def test_the_change_of_a_tenant_does_not_concern_another(tenant: Tenant) -> None:
    reader, other = Reader(), TenantFactory.create()
    first = reader.get(other)
    with tenant_scope(tenant.pk):
        revisions.increment()
    assert reader.get(other) == first


def test_a_change_of_the_platform_concerns_every_tenant(tenant: Tenant) -> None:
    reader, other = Reader(), TenantFactory.create()
    before = [reader.get(tenant), reader.get(other)]
    revisions.increment_all()
    after = [reader.get(tenant), reader.get(other)]
    assert all(new > old for new, old in zip(after, before, strict=True))


def test_many_unknown_facts_are_read_together(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "MANY_MISSES", 2)
    reader, tenants = Reader(), TenantFactory.create_batch(5)
    with tenant_scope(tenants[4].pk):
        revisions.increment()

    for asked in tenants:
        reader.get(asked)
    assert reader.reads == [tenants[0].pk, tenants[1].pk, None]
    with tenant_scope(tenants[4].pk):
        revisions.increment()
    reader.get(tenants[4])
    assert reader.reads[3:] == [tenants[4].pk]
