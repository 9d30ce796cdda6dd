"""The periodic tasks of metrics, run by a real worker."""

from datetime import timedelta

import pytest
from django.utils import timezone

from devices.metrics import tasks
from devices.metrics.models import DeviceMetrics, HourlyMetrics
from devices.metrics.services.partitions import SAMPLES, _exists
from devices.metrics.tests.reporting import at, report
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import wait_until


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("partitions_dropped")
def test_a_worker_creates_partitions_computes_percentiles_and_drops_expired_samples(
    celery_worker: None,
) -> None:
    now = timezone.now()
    device = DeviceFactory.create()
    old, late = now - timedelta(days=92), now - timedelta(hours=3)
    report(device, at(old), now=old)
    report(device, at(late, cpu_usage=7), now=now - timedelta(minutes=5))

    tasks.create_partitions.delay()
    wait_until(lambda: _exists(SAMPLES.partition_name(now + timedelta(days=3))))
    tasks.finalise_rollups.delay()
    percentiles = HourlyMetrics.every_tenant.values_list("cpu_usage_p95", flat=True)
    wait_until(lambda: 7 in percentiles.all())
    tasks.drop_expired_partitions.delay()
    wait_until(lambda: DeviceMetrics.every_tenant.count() == 1)

    assert HourlyMetrics.every_tenant.count() == 2
