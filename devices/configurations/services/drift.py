"""Devices that are online and have not for long what they should have.

Offline is not drifted: the time of a device that was away begins anew, so that one that
comes back can fetch what it should have before anybody is told.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from devices.configurations.documents import NOTHING
from devices.configurations.events import ConfigurationConverged, ConfigurationDrifted
from devices.configurations.models import ConfigurationDrift, ReportedConfiguration
from devices.registry.models import Device, NextSteps
from events.services.outbox import record

BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Watched:
    """What a pass came to."""

    noticed: int
    announced: int
    settled: int


def watch(*, now: datetime, limit: timedelta) -> Watched:
    """One pass over every tenant's devices. Runs beside itself without harm.

    A device is noticed when half of the time is up, and announced when it has been
    online and waiting for the other half.
    """
    return Watched(
        settled=_all(lambda: _settle(now)),
        announced=_all(lambda: _announce(now, before=now - limit / 2)),
        noticed=_notice(now, since=now - limit / 2),
    )


def announced() -> QuerySet[Any]:
    """The current tenant's drifts that were announced, with since when it is so."""
    drifts: QuerySet[Any] = ConfigurationDrift.objects.announced().annotate(
        since=F("device__next_steps__configuration_waiting_since")
    )
    return drifts


def _all(batch: Callable[[], int]) -> int:
    total, done = 0, BATCH
    while done == BATCH:
        done = batch()
        total += done
    return total


def _steps() -> QuerySet[NextSteps]:
    return NextSteps.every_tenant.filter(device=OuterRef("device"))


@transaction.atomic
def _settle(now: datetime) -> int:
    """End what is over: it has what it should have, or was away before the time was up."""
    waiting = Exists(_steps().filter(configuration_waiting_since__isnull=False))
    online = Q(device__status=Device.Status.ONLINE, device__quarantined_at__isnull=True)
    away = ~online & Q(announced_at__isnull=True)
    over = ConfigurationDrift.every_tenant.filter(
        ~waiting | away | Q(device__status=Device.Status.RETIRED)
    )
    held = list(over.select_for_update(skip_locked=True, of=("self",))[:BATCH])
    record(
        ConfigurationConverged(
            tenant_id=drift.tenant_id, device_id=drift.device_id, at=now
        )
        for drift in held
        if drift.announced_at is not None
    )
    ids = [drift.pk for drift in held]
    ConfigurationDrift.every_tenant.filter(pk__in=ids).delete()
    return len(held)


@transaction.atomic
def _announce(now: datetime, *, before: datetime) -> int:
    due = ConfigurationDrift.every_tenant.filter(
        Exists(_steps().filter(configuration_waiting_since__isnull=False)),
        announced_at__isnull=True,
        noticed_at__lte=before,
        device__status=Device.Status.ONLINE,
    )
    held = list(due.select_for_update(skip_locked=True, of=("self",))[:BATCH])
    ids: list[UUID] = [drift.device_id for drift in held]
    ConfigurationDrift.every_tenant.filter(pk__in=ids).update(announced_at=now)
    steps = NextSteps.every_tenant.in_bulk(ids)
    reports = ReportedConfiguration.every_tenant.in_bulk(ids)
    record(
        _drifted(steps[drift.device_id], reports.get(drift.device_id), now)
        for drift in held
    )
    return len(held)


def _drifted(
    steps: NextSteps, report: ReportedConfiguration | None, now: datetime
) -> ConfigurationDrifted:
    since = steps.configuration_waiting_since  # None: it has just reported
    return ConfigurationDrifted(
        tenant_id=steps.tenant_id,
        device_id=steps.device_id,
        at=now,
        version=steps.configuration_version or NOTHING,
        since=(since or now).isoformat(),
        applied_version=(report.applied_version or None) if report else None,
    )


@transaction.atomic
def _notice(now: datetime, *, since: datetime) -> int:
    known = ConfigurationDrift.every_tenant.filter(device=OuterRef("device"))
    found = NextSteps.every_tenant.filter(
        ~Exists(known),
        configuration_waiting_since__lte=since,
        device__status=Device.Status.ONLINE,
        device__quarantined_at__isnull=True,
    )
    rows = [
        ConfigurationDrift(device_id=device_id, tenant_id=tenant_id, noticed_at=now)
        for device_id, tenant_id in found.values_list("device_id", "tenant_id")[
            : 10 * BATCH
        ]
    ]
    ConfigurationDrift.every_tenant.bulk_create(
        rows, ignore_conflicts=True, batch_size=BATCH
    )
    return len(rows)
