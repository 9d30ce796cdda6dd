"""Screenshots of all online devices of a tenant, at the interval of its policy.

Each device has its own minute of the interval, so the images arrive evenly. A device that is
offline in its minute has its turn in the next interval.
"""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.expressions import RawSQL

from devices.registry.models import Device
from devices.remote_control.command_types import TYPES
from devices.remote_control.models import CommandHistory, RemoteControlPolicy
from devices.remote_control.services import issuing, queues
from tenants.context import tenant_scope

SCREENSHOT = TYPES["screenshot"]
WIDTH = 640  # pixels
TYPICAL_KILOBYTES = 60  # of an image of this width
BATCH = 200  # devices in one transaction
MAX_PER_MINUTE = 2_000  # devices of one tenant
ISSUED_BY = "schedule"
log = logging.getLogger(__name__)


def megabytes_per_hour(devices: int, minutes: int) -> float:
    """Return how much a number of devices sends at an interval."""
    return devices * (60 / minutes) * TYPICAL_KILOBYTES / 1000


def issue_due(*, now: datetime) -> int:
    """Request the screenshots of this minute, for all tenants. Return their number."""
    scheduled = RemoteControlPolicy.every_tenant.filter(
        screenshot_minutes__gt=0, allowed_types__contains=[SCREENSHOT.name]
    )
    total = 0
    for tenant_id, minutes in scheduled.values_list("tenant", "screenshot_minutes"):
        try:
            with tenant_scope(tenant_id):
                due = list(_due(minutes, now).values_list("pk", flat=True)[:MAX_PER_MINUTE])
                for start in range(0, len(due), BATCH):
                    total += _issue(due[start : start + BATCH], now)
        except DatabaseError:  # such as a lock that lasts; other tenants have their screenshots
            log.exception("The screenshots of a tenant were not requested: %s", tenant_id)
    return total


def _due(minutes: int, now: datetime) -> QuerySet[Device]:
    """Return the devices of this minute, in another order in each interval.

    So if there are more than `MAX_PER_MINUTE`, each has its turn in some interval. A device with
    a screenshot command that it has not fetched needs no other, which would replace a member's.
    """
    interval, minute = divmod(int(now.timestamp()) // 60, minutes)
    own_minute = RawSQL("mod(abs(hashtext(devices_device.id::text)::bigint), %s)", [minutes])
    order = RawSQL("hashtext(devices_device.id::text || %s)", [str(interval)])
    queued = CommandHistory.objects.queued().filter(device=OuterRef("pk"), type=SCREENSHOT.name)
    devices = Device.objects.online().filter(~Exists(queued), quarantined_at__isnull=True)
    return devices.alias(own_minute=own_minute).filter(own_minute=minute).order_by(order)


@transaction.atomic
def _issue(ids: list[UUID], now: datetime) -> int:
    sequences = queues.advance(ids)
    # Read the devices while their queues are locked, so that devices retired meanwhile are skipped.
    online = Device.objects.online().filter(pk__in=sequences, quarantined_at__isnull=True)
    reachable = set(online.values_list("pk", flat=True))
    expires_at = now + issuing.validated_wait(SCREENSHOT, None)
    order = issuing.CommandOrder(
        type_=SCREENSHOT,
        parameters={"max_width": WIDTH},
        issued_by=ISSUED_BY,
        issued_at=now,
        expires_at=max(expires_at, now + timedelta(minutes=2)),
        is_scheduled=True,
    )
    issuing.create_commands(
        order, {pk: number for pk, number in sequences.items() if pk in reachable}
    )
    if skipped := sequences.keys() - reachable:
        queues.recount(skipped)
    return len(reachable)
