"""What beat sends to the metrics, through a real worker."""

from datetime import timedelta

import pytest
from django.utils import timezone

from devices.metrics import tasks
from devices.metrics.models import DeviceMetrics, HourlyMetrics
from devices.metrics.services.partitions import SAMPLES, _is_there
from devices.metrics.tests.reporting import at, report
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import until


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("pieces_dropped")
def test_partitions_roll_ups_and_retention_are_seen_to_by_a_worker(
    celery_worker: None,
) -> None:
    now = timezone.now()
    device = DeviceFactory.create()
    old, late = now - timedelta(days=92), now - timedelta(hours=3)
    report(device, at(old), now=old)
    report(device, at(late, cpu_usage=7), now=now - timedelta(minutes=5))

    tasks.create_partitions.delay()
    until(lambda: _is_there(SAMPLES.piece_of(now + timedelta(days=3))))
    tasks.finalise_rollups.delay()
    percentiles = HourlyMetrics.every_tenant.values_list("cpu_usage_p95", flat=True)
    until(lambda: 7 in percentiles.all())
    tasks.drop_expired_partitions.delay()
    until(lambda: DeviceMetrics.every_tenant.count() == 1)

    assert HourlyMetrics.every_tenant.count() == 2
