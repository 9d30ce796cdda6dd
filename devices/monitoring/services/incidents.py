"""Very many devices of a tenant fall silent at once: one incident with a list."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Q

from devices.monitoring.models import Alert, IncidentDevice
from devices.monitoring.services import alert_closing
from devices.monitoring.services.alert_events import opened
from devices.monitoring.services.violations import Found
from devices.registry.events import FleetSilence
from devices.registry.models import Device
from devices.registry.services.fleet_silence import is_a_share
from events.services.outbox import record
from events.severity import Severity

TOGETHER = timedelta(minutes=15)  # who falls silent so soon after is part of it
FEW = 5  # percent of an incident's devices; the rest get alerts of their own
LONGEST = timedelta(hours=6)  # then those that are still away get alerts of their own
MISSED = 2  # connects that did not come, of one who is about to be silent
MEMBERS_BATCH = 5_000


def absorb(found: list[Found], *, threshold: timedelta, now: datetime) -> list[Found]:
    """Make an incident of devices that fell silent together; return who stands alone.

    They are part of an incident that is under way, or so many of those that were heard
    of lately are silent, or about to be, that they are one.
    """
    incident = under_way()
    rest = found
    if incident is not None:
        until = incident.opened_at + TOGETHER
        _add(incident, [one for one in found if one.since <= until])
        rest = [one for one in found if one.since > until]
    lately = now - threshold - TOGETHER
    fell = {one.device_id: one.since for one in rest if one.since > lately}
    if len(fell) < settings.FLEET_SILENCE_LEAST or not _is_a_share(lately, now):
        return rest
    if incident is not None:  # that one is over; this is another
        _close(incident, now)
    open_incident(fell, now=now)
    return [one for one in rest if one.since <= lately]


def open_incident(silent: Mapping[UUID, datetime], *, now: datetime) -> None:
    """One alert about many devices; of two at once one is made.

    Whoever comes second leaves its devices to the next pass.

    Args:
        silent: since when, by device.
    """
    try:
        with transaction.atomic():
            incident = Alert.objects.create(
                kind=Alert.Kind.FLEET_SILENCE,
                severity=Severity.CRITICAL,
                title=_title(len(silent)),
                value=len(silent),
                since=min(silent.values()),
                opened_at=now,
                devices=len(silent),
            )
            _write(incident, silent)
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
    members: dict[Any, Any] = dict(silent.values_list("pk", "last_seen"))
    if members and under_way() is None:
        open_incident(members, now=fact.at)


def under_way() -> Alert | None:
    """The current tenant's incident, if there is one."""
    found: Alert | None = Alert.objects.unsettled().incidents().first()
    return found


def settle(*, now: datetime) -> None:
    """Note who is back; close the incident when all are, but for a few, or after hours."""
    incident = under_way()
    if incident is None:
        return
    away = IncidentDevice.objects.filter(alert=incident, returned_at__isnull=True)
    back = Q(device__last_seen__gt=F("silent_since")) | Q(
        device__status=Device.Status.RETIRED
    )
    away.filter(back).update(returned_at=now)
    over = now - incident.opened_at > LONGEST
    if over or 100 * away.count() <= FEW * incident.devices:
        _close(incident, now)


def _close(incident: Alert, now: datetime) -> None:
    itself = Alert.objects.filter(pk=incident.pk)
    alert_closing.settle(itself, closing=Alert.Closing.CAUSE_GONE, now=now)


def _is_a_share(lately: datetime, now: datetime) -> bool:
    """Of the devices heard of lately, so many have missed their last connects."""
    missed = timedelta(seconds=MISSED * settings.CONNECT_INTERVAL_SECONDS)
    counted = (
        Device.objects.living()
        .filter(last_seen__gt=lately)
        .aggregate(
            silent=Count("pk", filter=Q(last_seen__lte=now - missed)), all=Count("pk")
        )
    )
    return is_a_share(counted["silent"], counted["all"] - counted["silent"])


@transaction.atomic
def _add(incident: Alert, joining: list[Found]) -> None:
    if not joining:
        return
    _write(incident, {one.device_id: one.since for one in joining})
    count = IncidentDevice.objects.filter(alert=incident).count()
    Alert.objects.filter(pk=incident.pk).update(devices=count, title=_title(count))


def _write(incident: Alert, silent: Mapping[UUID, datetime]) -> None:
    """The incident's devices; one that had come back is away again."""
    IncidentDevice.objects.bulk_create(
        [
            IncidentDevice(alert=incident, device_id=device_id, silent_since=since)
            for device_id, since in sorted(silent.items())
        ],
        update_conflicts=True,
        update_fields=["silent_since", "returned_at"],
        unique_fields=["alert", "device"],
        batch_size=MEMBERS_BATCH,
    )


def _title(count: int) -> str:
    return f"{count:,} devices fell silent together"
