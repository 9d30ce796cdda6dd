"""The Celery tasks of configurations, run by a worker."""

from datetime import timedelta

import pytest
from django.utils import timezone

from devices.configurations import tasks
from devices.configurations.documents import version_of
from devices.configurations.models import ConfigurationDrift, EffectiveDocument
from devices.configurations.tests.documents import save_for_device, save_for_tenant
from devices.registry.models import NextSteps
from devices.registry.services import device_details
from devices.registry.tests.factories import DeviceFactory, TagFactory
from devices.registry.tests.waiting import wait_until
from events.models import Event
from tenants.context import tenant_scope


@pytest.mark.django_db(transaction=True)
def test_a_worker_recalculates_detects_drift_and_deletes_documents(celery_worker: None) -> None:
    now = timezone.now()
    device = DeviceFactory.create(status="online", last_seen=now)
    save_for_tenant(device.tenant, {"volume": 5}, now=now)
    versions = NextSteps.every_tenant.values_list("configuration_version", flat=True)
    wait_until(lambda: list(versions.all()) == [version_of({"volume": 5})])

    new = DeviceFactory.create(tenant=device.tenant)
    TagFactory.create(tenant=device.tenant, name="lobby")
    with tenant_scope(device.tenant_id):
        device_details.update(device=new, tags=["lobby"], now=now)
    wait_until(lambda: NextSteps.every_tenant.filter(device=new).exists())

    long_ago = now - timedelta(days=1)
    NextSteps.every_tenant.update(configuration_waiting_since=long_ago)
    tasks.detect_drift.delay()
    wait_until(lambda: ConfigurationDrift.every_tenant.filter(device=device).exists())
    ConfigurationDrift.every_tenant.update(noticed_at=long_ago)
    tasks.detect_drift.delay()
    drifted = Event.every_tenant.filter(name="configuration.drifted")
    wait_until(lambda: drifted.filter(device_id=device.pk).exists())

    save_for_device(new, {"volume": 6}, now=now)
    save_for_device(new, {"volume": 7}, now=now)
    EffectiveDocument.every_tenant.update(wanted_at=now - timedelta(days=365))
    tasks.delete_unused_documents.delay()
    wait_until(lambda: EffectiveDocument.every_tenant.count() == 2)
