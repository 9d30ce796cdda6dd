"""Very many devices fall silent at once: one alarm, and not one for each of them."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Count

from devices.registry.events import DeviceStatusChanged, FleetSilence
from devices.registry.models import Device
from events.domain_events import DomainEvent
from events.models import Event

TOGETHER = timedelta(seconds=90)  # two sweeps, one of which may have been killed
LOCK = 7_205_759_404
NOT_AGAIN_WITHIN = timedelta(minutes=15)  # a fleet that goes silent bit by bit


def fleet_silences(*, now: datetime) -> list[DomainEvent]:
    """What a sweep has to announce of whole tenants, after its last batch.

    It counts what the sweeps of the last moments have announced of single devices, not
    what this one remembers: so one that was killed half-way is not forgotten.

    When no device of anybody is online any more, nobody was heard of for as long as the
    threshold: then the fault is likely in our own ingest, and every tenant hears so.
    """
    silenced = _silenced(since=now - TOGETHER)
    if not silenced:
        return []
    with connection.cursor() as cursor:  # two sweeps at once must not both announce it
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    ingest = not Device.every_tenant.online().exists()
    online = dict(
        Device.every_tenant.online()
        .filter(tenant__in=silenced)
        .order_by()
        .values_list("tenant")
        .annotate(count=Count("pk"))
    )
    told = set(
        Event.every_tenant.named(FleetSilence.name)
        .since(now - NOT_AGAIN_WITHIN)
        .values_list("tenant", flat=True)
    )
    return [
        FleetSilence(
            tenant_id=tenant_id,
            at=now,
            cause="ingest" if ingest else "tenant",
            devices=count,
            online_before=count + online.get(tenant_id, 0),
        )
        for tenant_id, count in silenced.items()
        if tenant_id not in told and is_a_share(count, online.get(tenant_id, 0))
    ]


def _silenced(*, since: datetime) -> dict[UUID, int]:
    """How many devices of each tenant have fallen silent, where it was not only a few."""
    fell = Event.every_tenant.named(DeviceStatusChanged.name).since(since)
    return dict(
        fell.filter(data__status=Device.Status.OFFLINE.value)
        .order_by()
        .values_list("tenant")
        .annotate(count=Count("pk"))
        .filter(count__gte=settings.FLEET_SILENCE_LEAST)
    )


def is_a_share(silenced: int, still_online: int) -> bool:
    """Whether so many are `FLEET_SILENCE_PERCENT` of those that were online before."""
    before = silenced + still_online
    return 100 * silenced >= settings.FLEET_SILENCE_PERCENT * before
