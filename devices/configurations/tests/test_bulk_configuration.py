"""The configuration of many devices in one bulk operation."""

from datetime import UTC, datetime
from typing import Any

import pytest

from devices.bulk.errors import InvalidParameters
from devices.bulk.models import BulkOperation, BulkResult
from devices.bulk.services import operations
from devices.configurations.services import layers
from devices.configurations.services.layers import Subject
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from tenants.context import every_tenant_scope
from tenants.models import Tenant, User
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def by(acting: Tenant) -> User:
    user: User = MembershipFactory.create(tenant=acting).user
    return user


def run(operation: BulkOperation) -> None:
    with every_tenant_scope():
        while operations.process_next_batch(now=NOW):
            pass
    operation.refresh_from_db()


def configure(document: Any, by: User) -> BulkOperation:
    operation = operations.start(
        action="configure", parameters={"document": document}, filter={}, by=by, now=NOW
    )
    run(operation)
    return operation


def own(device: Device) -> Any:
    layer = layers.layer_of(Subject(scope="device", device=device))
    return layer.document if layer else None


def set_own(device: Device, document: Any) -> None:
    layers.save(subject=Subject(scope="device", device=device), document=document, now=NOW)


def test_keys_are_set_in_the_own_layer_of_each_device_and_others_stay(
    acting: Tenant, by: User
) -> None:
    first, second = DeviceFactory.create_batch(2, tenant=acting)
    set_own(first, {"brightness": 100, "volume": 10})

    configure({"volume": 30, "brightness": None}, by)

    assert own(first) == {"volume": 30}
    assert own(second) == {"volume": 30}


def test_a_device_that_has_the_values_is_unchanged(acting: Tenant, by: User) -> None:
    set_own(DeviceFactory.create(tenant=acting), {"volume": 30})

    operation = configure({"volume": 30}, by)

    assert (operation.done, operation.unchanged) == (0, 1)


def test_an_undo_restores_what_was_not_changed_since(acting: Tenant, by: User) -> None:
    first, second = DeviceFactory.create_batch(2, tenant=acting)
    set_own(first, {"volume": 10})
    operation = configure({"volume": 30}, by)
    set_own(second, {"volume": 99})

    run(operations.undo(operation=operation, by=by, now=NOW))

    assert own(first) == {"volume": 10}
    assert own(second) == {"volume": 99}
    refused = BulkResult.objects.get(outcome="refused")
    assert refused.detail == "Its configuration was changed since."


@pytest.mark.parametrize("document", [None, {}, [], {"volume": 200}, {"no_such_key": 1}])
def test_invalid_documents_are_refused(acting: Tenant, by: User, document: Any) -> None:
    DeviceFactory.create(tenant=acting)

    with pytest.raises(InvalidParameters) as refused:
        configure(document, by)

    assert refused.value.field in ("document", "parameters.document")
