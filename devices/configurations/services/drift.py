"""Detection of online devices that have not applied their desired configuration.

Only online devices are examined. After a device comes back online, it has half of the time
limit to fetch its configuration before an event is published.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from devices.configurations.documents import EMPTY_VERSION
from devices.configurations.events import ConfigurationConverged, ConfigurationDrifted
from devices.configurations.models import ConfigurationDrift, ReportedConfiguration
from devices.registry.models import Device, NextSteps
from events.services.outbox import record

BATCH = 2_000


@dataclass(frozen=True, slots=True)
class DriftCounts:
    """The numbers of drifts that a run of the detection has noticed, announced and ended."""

    noticed: int
    announced: int
    ended: int


def detect(*, now: datetime, limit: timedelta) -> DriftCounts:
    """Update the drifts of all tenants' devices. Runs may overlap.

    A drift is noticed after the device has waited for half of the limit. Its event is
    published after the device has been online and waiting for the other half.
    """
    return DriftCounts(
        ended=_repeat(lambda: _end(now)),
        announced=_repeat(lambda: _announce(now, before=now - limit / 2)),
        noticed=_notice(now, since=now - limit / 2),
    )


def announced_drifts() -> QuerySet[Any]:
    """Return the announced drifts of all tenants. `since` is the start of each drift."""
    return ConfigurationDrift.every_tenant.announced().annotate(
        since=F("device__next_steps__configuration_waiting_since")
    )


def _repeat(batch: Callable[[], int]) -> int:
    total, count = 0, BATCH
    while count == BATCH:
        count = batch()
        total += count
    return total


def _steps() -> QuerySet[NextSteps]:
    return NextSteps.every_tenant.filter(device=OuterRef("device"))


@transaction.atomic
def _end(now: datetime) -> int:
    """End the drifts of devices that converged, were retired, or went offline before the limit."""
    waiting = Exists(_steps().filter(configuration_waiting_since__isnull=False))
    online = Q(device__status=Device.Status.ONLINE, device__quarantined_at__isnull=True)
    offline_before_limit = ~online & Q(announced_at__isnull=True)
    ended = ConfigurationDrift.every_tenant.filter(
        ~waiting | offline_before_limit | Q(device__status=Device.Status.RETIRED)
    )
    locked = list(ended.select_for_update(skip_locked=True, of=("self",))[:BATCH])
    record(
        ConfigurationConverged(tenant_id=drift.tenant_id, device_id=drift.device_id, at=now)
        for drift in locked
        if drift.announced_at is not None
    )
    ids = [drift.pk for drift in locked]
    ConfigurationDrift.every_tenant.filter(pk__in=ids).delete()
    return len(locked)


@transaction.atomic
def _announce(now: datetime, *, before: datetime) -> int:
    due = ConfigurationDrift.every_tenant.filter(
        Exists(_steps().filter(configuration_waiting_since__isnull=False)),
        announced_at__isnull=True,
        noticed_at__lte=before,
        device__status=Device.Status.ONLINE,
    )
    locked = list(due.select_for_update(skip_locked=True, of=("self",))[:BATCH])
    ids: list[UUID] = [drift.device_id for drift in locked]
    ConfigurationDrift.every_tenant.filter(pk__in=ids).update(announced_at=now)
    steps = NextSteps.every_tenant.in_bulk(ids)
    reports = ReportedConfiguration.every_tenant.in_bulk(ids)
    record(
        _drifted_event(steps[drift.device_id], reports.get(drift.device_id), now)
        for drift in locked
    )
    return len(locked)


def _drifted_event(
    steps: NextSteps, report: ReportedConfiguration | None, now: datetime
) -> ConfigurationDrifted:
    since = steps.configuration_waiting_since  # None if a report arrived since the query
    return ConfigurationDrifted(
        tenant_id=steps.tenant_id,
        device_id=steps.device_id,
        at=now,
        version=steps.configuration_version or EMPTY_VERSION,
        since=(since or now).isoformat(),
        applied_version=(report.applied_version or None) if report else None,
    )


@transaction.atomic
def _notice(now: datetime, *, since: datetime) -> int:
    existing = ConfigurationDrift.every_tenant.filter(device=OuterRef("device"))
    waiting = NextSteps.every_tenant.filter(
        ~Exists(existing),
        configuration_waiting_since__lte=since,
        device__status=Device.Status.ONLINE,
        device__quarantined_at__isnull=True,
    )
    rows = [
        ConfigurationDrift(device_id=device_id, tenant_id=tenant_id, noticed_at=now)
        for device_id, tenant_id in waiting.values_list("device_id", "tenant_id")[: 10 * BATCH]
    ]
    ConfigurationDrift.every_tenant.bulk_create(rows, ignore_conflicts=True, batch_size=BATCH)
    return len(rows)
