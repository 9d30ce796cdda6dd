"""Detect when a large share of a tenant's devices goes offline at once.

Such a silence is recorded as one `FleetSilence` event per tenant, in addition to the
events of the devices. A sweep is one run of `presence.sweep`.
"""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Count

from core.locks import transaction_lock
from devices.registry.events import DeviceStatusChanged, FleetSilence
from devices.registry.models import Device
from events.domain_events import DomainEvent
from events.models import Event

WINDOW = timedelta(seconds=90)  # includes the previous sweep, which may have been killed
REPEAT_AFTER = timedelta(minutes=15)  # a fleet may go silent in several steps


def fleet_silences(*, now: datetime) -> list[DomainEvent]:
    """Return the `FleetSilence` events to record at the end of a sweep.

    The function counts the status events of recent sweeps, so that it includes devices that
    were marked by a sweep that was killed half-way.

    If no device of any tenant is online, the fault is probably in this server. The events
    then have the cause `ingest`.
    """
    silent_counts = _count_silent(since=now - WINDOW)
    if not silent_counts:
        return []
    transaction_lock("fleet silence")  # concurrent sweeps must not both record the event
    is_ingest_fault = not Device.every_tenant.online().exists()
    online_counts = dict(
        Device.every_tenant.online()
        .filter(tenant__in=silent_counts)
        .order_by()
        .values_list("tenant")
        .annotate(count=Count("pk"))
    )
    recently_reported = set(
        Event.every_tenant.named(FleetSilence.name)
        .since(now - REPEAT_AFTER)
        .values_list("tenant", flat=True)
    )
    return [
        FleetSilence(
            tenant_id=tenant_id,
            at=now,
            cause="ingest" if is_ingest_fault else "tenant",
            devices=count,
            online_before=count + online_counts.get(tenant_id, 0),
        )
        for tenant_id, count in silent_counts.items()
        if tenant_id not in recently_reported
        and is_large_share(count, online_counts.get(tenant_id, 0))
    ]


def _count_silent(*, since: datetime) -> dict[UUID, int]:
    """Return the number of devices that have gone offline since a time, by tenant.

    Tenants with fewer than `FLEET_SILENCE_MINIMUM` such devices are omitted.
    """
    events = Event.every_tenant.named(DeviceStatusChanged.name).since(since)
    return dict(
        events.filter(data__status=Device.Status.OFFLINE.value)
        .order_by()
        .values_list("tenant")
        .annotate(count=Count("pk"))
        .filter(count__gte=settings.FLEET_SILENCE_MINIMUM)
    )


def is_large_share(silent: int, still_online: int) -> bool:
    """Return True if `FLEET_SILENCE_PERCENT` or more of the devices that were online are silent."""
    online_before = silent + still_online
    return 100 * silent >= settings.FLEET_SILENCE_PERCENT * online_before
