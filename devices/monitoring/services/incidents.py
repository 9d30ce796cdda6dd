"""Open one incident when many devices of a tenant fall silent at the same time."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Q

from devices.monitoring.models import Alert, IncidentDevice
from devices.monitoring.queries import Violation
from devices.monitoring.services import alert_closing
from devices.monitoring.services.alert_events import opened_event
from devices.registry.events import FleetSilence
from devices.registry.models import Device
from devices.registry.services.fleet_silence import is_large_share
from events.services.outbox import record
from events.severity import Severity

JOIN_WINDOW = timedelta(minutes=15)  # devices that fall silent within this time join the incident
MAX_REMAINING_PERCENT = 5  # percentage of silent devices at which an incident closes
MAX_DURATION = timedelta(hours=6)  # of an incident
MISSED_CONNECTS = 2  # missed connects after which a device counts as silent
MEMBERS_BATCH = 5_000


def group_into_incident(
    silent: list[Violation], *, threshold: timedelta, now: datetime
) -> list[Violation]:
    """Put devices that fell silent together into an incident. Return the others.

    Devices join the current incident if they fell silent no later than `JOIN_WINDOW` after
    its opening. The other devices open a new incident if `FLEET_SILENCE_MINIMUM` or more of
    them fell silent recently, and a large share of the recently seen devices has missed its
    last connects.

    Args:
        silent: devices that would each get an alert.
        threshold: how long a device is without contact before it counts as silent.

    Returns:
        The devices that get an alert of their own.
    """
    incident = current_incident()
    rest = silent
    if incident is not None:
        until = incident.opened_at + JOIN_WINDOW
        _add(incident, [item for item in silent if item.since <= until])
        rest = [item for item in silent if item.since > until]
    recent = now - threshold - JOIN_WINDOW
    recently_silent = {item.device_id: item.since for item in rest if item.since > recent}
    is_few = len(recently_silent) < settings.FLEET_SILENCE_MINIMUM
    if is_few or not _is_large_share_silent(recent, now):
        return rest
    if incident is not None:  # its join window is over, so this is another outage
        _close(incident, now)
    open_incident(recently_silent, now=now)
    return [item for item in rest if item.since <= recent]


def open_incident(silent: Mapping[UUID, datetime], *, now: datetime) -> None:
    """Open one alert for many devices, unless the tenant has an incident already.

    If two calls run concurrently, only one opens an incident. The next evaluation adds the
    devices of the other call.

    Args:
        silent: the time of the last contact, by device id.
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
            _write_members(incident, silent)
            record([opened_event(incident)])
    except IntegrityError as error:
        if "one_incident_at_a_time" not in str(error):
            raise


def open_for_event(event: FleetSilence) -> None:
    """Open an incident for a `FleetSilence` event of the presence sweep.

    The incident is also opened if the tenant has no rule on silence.
    """
    since = event.at - settings.RECENT_THRESHOLD - JOIN_WINDOW
    silent = Device.objects.not_retired().filter(status=Device.Status.OFFLINE, last_seen__gt=since)
    members: dict[Any, Any] = dict(silent.values_list("pk", "last_seen"))
    if members and current_incident() is None:
        open_incident(members, now=event.at)


def current_incident() -> Alert | None:
    """Return the current tenant's unsettled incident, if there is one."""
    return Alert.objects.unsettled().incidents().first()


def update_incident(incident: Alert, *, now: datetime) -> None:
    """Record which devices of an incident were seen again. Close the incident if it is over.

    An incident is over when at most `MAX_REMAINING_PERCENT` of its devices are still
    silent, or after `MAX_DURATION`. After that, silent devices get alerts of their own.
    """
    silent = IncidentDevice.objects.filter(alert=incident, returned_at__isnull=True)
    is_back = Q(device__last_seen__gt=F("silent_since")) | Q(device__status=Device.Status.RETIRED)
    silent.filter(is_back).update(returned_at=now)
    is_too_old = now - incident.opened_at > MAX_DURATION
    if is_too_old or 100 * silent.count() <= MAX_REMAINING_PERCENT * incident.devices:
        _close(incident, now)


def _close(incident: Alert, now: datetime) -> None:
    alert_closing.settle_alerts([incident.pk], closing=Alert.Closing.CAUSE_GONE, now=now)


def _is_large_share_silent(recent: datetime, now: datetime) -> bool:
    """Return True if a large share of the devices seen since `recent` is overdue to connect."""
    missed = timedelta(seconds=MISSED_CONNECTS * settings.CONNECT_INTERVAL_SECONDS)
    counts = (
        Device.objects.not_retired()
        .filter(last_seen__gt=recent)
        .aggregate(silent=Count("pk", filter=Q(last_seen__lte=now - missed)), all=Count("pk"))
    )
    return is_large_share(counts["silent"], counts["all"] - counts["silent"])


@transaction.atomic
def _add(incident: Alert, violations: list[Violation]) -> None:
    if not violations:
        return
    _write_members(incident, {item.device_id: item.since for item in violations})
    count = IncidentDevice.objects.filter(alert=incident).count()
    Alert.objects.filter(pk=incident.pk).update(devices=count, title=_title(count))


def _write_members(incident: Alert, silent: Mapping[UUID, datetime]) -> None:
    """Add devices to an incident. A device that had returned counts as silent again."""
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
    return f"{count:,} devices fell silent at the same time"
