"""Facts of tenants that a process keeps until they change."""

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

    def read(self) -> int:
        self.reads.append(current_tenant_id())
        return len(self.reads)

    def get(self, tenant: Tenant) -> int:
        with tenant_scope(tenant.pk):
            return self.fact.get(tenant.pk, revisions.revision_of(tenant.pk))


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
