"""Tenants take turns for the work of the background processes."""

import pytest

from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from tenants.fairness import random_tenant_first
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


def test_each_tenant_comes_first_in_turn_however_many_rows_it_has() -> None:
    busy, calm = TenantFactory.create_batch(2)
    DeviceFactory.create_batch(30, tenant=busy)
    DeviceFactory.create(tenant=calm)

    # At random; the chance that one of them is never first is 2^-39.
    orders = [
        list(
            Device.every_tenant.order_by(random_tenant_first(), "name").values_list(
                "tenant_id", flat=True
            )
        )
        for _ in range(40)
    ]

    assert {order[0] for order in orders} == {busy.pk, calm.pk}
    assert all(calm.pk in (order[0], order[-1]) for order in orders), "not between the others"
