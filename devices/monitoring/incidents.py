"""Very many devices of a tenant fall silent at once: one incident with a list."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction

from devices.facts import FleetSilence
from devices.fleet_silence import is_a_share
from devices.models import Device
from devices.monitoring import closing
from devices.monitoring.announcements import opened
from devices.monitoring.models import Alert, IncidentDevice
from devices.monitoring.watching import Found
from events.outbox import record
from events.severity import Severity

TOGETHER = timedelta(minutes=15)  # who falls silent so soon after is part of it
FEW = 5  # percent of an incident's devices; the rest get alerts of their own
MEMBERS_BATCH = 5_000


def absorb(found: list[Found], *, now: datetime) -> list[Found]:
    """Make an incident of devices that fell silent together; return who stands alone.

    They are part of an incident that is under way, or are so many that they are one.
    """
    incident = under_way()
    if incident is not None:
        until = incident.opened_at + TOGETHER
        joining = [reason for reason in found if reason.since <= until]
        _add(incident, [reason.device_id for reason in joining])
        return [reason for reason in found if reason.since > until]
    few = len(found) < settings.FLEET_SILENCE_LEAST
    if few or not is_a_share(len(found), Device.objects.online().count()):
        return found
    since = min(reason.since for reason in found)
    open_incident([reason.device_id for reason in found], since=since, now=now)
    return []


def open_incident(device_ids: list[UUID], *, since: datetime, now: datetime) -> None:
    """One alert about many devices; of two at once one is made.

    Whoever comes second leaves its devices to the next pass.
    """
    try:
        with transaction.atomic():
            incident = Alert.objects.create(
                kind=Alert.Kind.FLEET_SILENCE,
                severity=Severity.CRITICAL,
                title=_title(len(device_ids)),
                value=len(device_ids),
                since=since,
                opened_at=now,
                devices=len(device_ids),
            )
            _add(incident, device_ids)
            record([opened(incident)])
    except IntegrityError as error:
        if "one_incident_at_a_time" not in str(error):
            raise


def open_for(fact: FleetSilence) -> None:
    """What the sweep has noticed, also where no rule of the tenant is about silence."""
    since = fact.at - settings.RECENT_THRESHOLD - TOGETHER
    silent = Device.objects.living().filter(
        status=Device.Status.OFFLINE, last_seen__gt=since
    )
    device_ids = list(silent.values_list("pk", flat=True))
    if device_ids and under_way() is None:
        open_incident(device_ids, since=since, now=fact.at)


def under_way() -> Alert | None:
    """The current tenant's incident, if there is one."""
    found: Alert | None = Alert.objects.unsettled().incidents().first()
    return found


def settle(*, now: datetime) -> None:
    """Note who is back; close the incident when all are, but for a few."""
    incident = under_way()
    if incident is None:
        return
    back = Device.objects.filter(last_seen__gt=incident.opened_at)
    away = IncidentDevice.objects.filter(alert=incident, returned_at__isnull=True)
    away.filter(device__in=back.values("pk")).update(returned_at=now)
    gone = Device.objects.filter(status=Device.Status.RETIRED)
    away.filter(device__in=gone.values("pk")).update(returned_at=now)
    if 100 * away.count() <= FEW * incident.devices:
        itself = Alert.objects.filter(pk=incident.pk)
        closing.settle(itself, closing=Alert.Closing.CAUSE_GONE, now=now)


@transaction.atomic
def _add(incident: Alert, device_ids: list[UUID]) -> None:
    if not device_ids:
        return
    IncidentDevice.objects.bulk_create(
        [
            IncidentDevice(alert=incident, device_id=device_id)
            for device_id in device_ids
        ],
        ignore_conflicts=True,
        batch_size=MEMBERS_BATCH,
    )
    count = IncidentDevice.objects.filter(alert=incident).count()
    Alert.objects.filter(pk=incident.pk).update(devices=count, title=_title(count))


def _title(count: int) -> str:
    return f"{count:,} devices fell silent together"
