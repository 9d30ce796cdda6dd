"""Screenshots of all online devices of a tenant, at the interval of its policy.

Each device has its own minute of the interval, so the images arrive evenly. A device that is
offline in its minute has its turn in the next interval.
"""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from devices.registry.models import Device
from devices.remote_control.command_types import TYPES
from devices.remote_control.models import RemoteControlPolicy
from devices.remote_control.services import issuing, queues
from tenants.context import tenant_scope

SCREENSHOT = TYPES["screenshot"]
WIDTH = 640  # pixels
TYPICAL_KILOBYTES = 60  # of an image of this width
BATCH = 200  # devices in one transaction
MAX_PER_MINUTE = 2_000  # devices of one tenant
ISSUED_BY = "schedule"


def megabytes_per_hour(devices: int, minutes: int) -> float:
    """Return how much a number of devices sends at an interval."""
    return devices * (60 / minutes) * TYPICAL_KILOBYTES / 1000


def issue_due(*, now: datetime) -> int:
    """Request the screenshots of this minute, for all tenants. Return their number.

    A repeated call in the same minute replaces the commands that no device has fetched.
    """
    scheduled = RemoteControlPolicy.every_tenant.filter(
        screenshot_minutes__gt=0, allowed_types__contains=[SCREENSHOT.name]
    )
    total = 0
    for tenant_id, minutes in scheduled.values_list("tenant", "screenshot_minutes"):
        with tenant_scope(tenant_id):
            due = list(_due(minutes, now).values_list("pk", flat=True)[:MAX_PER_MINUTE])
            for start in range(0, len(due), BATCH):
                total += _issue(due[start : start + BATCH], now)
    return total


def _due(minutes: int, now: datetime) -> QuerySet[Device]:
    minute = int(now.timestamp()) // 60 % minutes
    own_minute = RawSQL("mod(abs(hashtext(devices_device.id::text)::bigint), %s)", [minutes])
    devices = Device.objects.online().filter(quarantined_at__isnull=True)
    return devices.alias(own_minute=own_minute).filter(own_minute=minute).order_by("pk")


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
