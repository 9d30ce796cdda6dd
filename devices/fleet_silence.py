"""Very many devices fall silent at once: one alarm, and not one for each of them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Count

from devices.facts import FleetSilence
from devices.models import Device
from events.models import Event
from events.outbox import Fact

LOCK = 7_205_759_404
NOT_AGAIN_WITHIN = timedelta(minutes=15)  # a fleet that goes silent bit by bit


def fleet_silences(silenced: Mapping[UUID, int], *, now: datetime) -> list[Fact]:
    """What a sweep has to announce of whole tenants.

    Args:
        silenced: how many devices of each tenant it has marked offline, in the
            transaction that asks.

    When no device of anybody is online any more, nobody was heard of for as long as the
    threshold: then the fault is likely in our own ingest, and every tenant hears so.
    """
    many = {
        tenant_id: count
        for tenant_id, count in silenced.items()
        if count >= settings.FLEET_SILENCE_LEAST
    }
    if not many:
        return []
    with connection.cursor() as cursor:  # two sweeps at once must not both announce it
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    ingest = not Device.every_tenant.online().exists()
    online = dict(
        Device.every_tenant.online()
        .filter(tenant__in=many)
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
        for tenant_id, count in many.items()
        if tenant_id not in told and _is_a_share(count, online.get(tenant_id, 0))
    ]


def _is_a_share(silenced: int, still_online: int) -> bool:
    before = silenced + still_online
    return 100 * silenced >= settings.FLEET_SILENCE_PERCENT * before
