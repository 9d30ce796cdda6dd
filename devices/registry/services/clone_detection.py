"""Record observations of a device, and quarantine it if they show that it was cloned."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from devices.registry.clones import Evidence, Kind, Observation, evidence_of_clone
from devices.registry.errors import DeviceIsRetired, DeviceNotFound
from devices.registry.models import CloneObservation, Device, DeviceToken, ReplacedToken
from devices.registry.queries import lock_device
from devices.registry.services.quarantine import set_quarantined
from events.domain_events import DomainEvent
from events.services.outbox import record
from tenants.context import every_tenant_scope, tenant_scope

MAX_OBSERVATIONS = 100  # of one device
MAX_REPLACED_TOKENS = 20  # of one device; two of them are evidence


def observe_key(device: Device, key_digest: str, *, now: datetime) -> list[DomainEvent]:
    """Record the key of a registration. Return the events to record.

    Args:
        device: a locked device.
        key_digest: hexadecimal SHA-256 of the SPKI, or "" if there is no key.
    """
    if not key_digest:
        return []
    return observe(device, [Observation(Kind.KEY, now, key_digest)])


def observe(device: Device, observations: Iterable[Observation]) -> list[DomainEvent]:
    """Record observations of a locked device. Quarantine it if it is cloned.

    Returns:
        The events to record.
    """
    new, window = list(observations), timedelta(seconds=settings.CLONE_WINDOW_SECONDS)
    if not new or not window or device.quarantined_at is not None:
        return []
    rows = list(CloneObservation.objects.filter(device=device))
    recent = [row for row in rows if row.at > new[-1].at - window][-MAX_OBSERVATIONS:]
    if len(recent) < len(rows):
        outdated = {row.pk for row in rows} - {row.pk for row in recent}
        CloneObservation.objects.filter(pk__in=outdated).delete()
    CloneObservation.objects.bulk_create(
        CloneObservation(
            device=device, at=item.at, kind=item.kind, value=item.value, previous=item.previous
        )
        for item in new
    )
    earlier = [Observation(row.kind, row.at, row.value, row.previous) for row in recent]
    evidence = evidence_of_clone([*earlier, *new])
    return _quarantine(device, evidence, new[-1].at) if evidence else []


def remember_replaced_token(device: Device, *, now: datetime) -> None:
    """Remember the token of a locked device, which is about to be replaced."""
    window = timedelta(seconds=settings.CLONE_WINDOW_SECONDS)
    digest = DeviceToken.objects.filter(device=device).values_list("digest", flat=True).first()
    if digest is None or not window:
        return
    earlier = ReplacedToken.objects.filter(device=device).order_by("-replaced_at")
    recent = earlier.filter(replaced_at__gt=now - window).values_list("pk", flat=True)
    earlier.exclude(pk__in=list(recent[: MAX_REPLACED_TOKENS - 1])).delete()
    ReplacedToken.objects.create(device=device, digest=digest, replaced_at=now)


def report_unknown_token(digest: str, *, now: datetime) -> None:
    """Record that a token was used that is not valid, if it is a replaced token of a device.

    A device whose registration succeeded, but whose answer was lost, still uses its old token.
    Therefore this is an observation only if the new token has been used since.

    Call it in `every_tenant_scope`.
    """
    window = timedelta(seconds=settings.CLONE_WINDOW_SECONDS)
    replaced = ReplacedToken.every_tenant.filter(digest=digest, replaced_at__gt=now - window)
    token = replaced.first() if window else None
    if token is None:
        return
    value = token.replaced_at.isoformat()
    with transaction.atomic(), tenant_scope(token.tenant_id):
        try:
            device = lock_device(token.device_id)
        except (DeviceNotFound, DeviceIsRetired):
            return
        present = DeviceToken.objects.get(device=device)
        is_used = device.last_seen is not None and device.last_seen > present.issued_at
        is_known = CloneObservation.objects.filter(
            device=device, kind=Kind.TOKEN, value=value
        ).exists()
        if is_used and not is_known:
            record(observe(device, [Observation(Kind.TOKEN, now, value)]))


def report_replaced_connection(device_id: UUID, *, now: datetime) -> None:
    """Record that a new push connection of a device has replaced one opened shortly before.

    A device that sends its boot id is judged by that.
    """
    with every_tenant_scope(), transaction.atomic():
        try:
            device = lock_device(device_id)
        except (DeviceNotFound, DeviceIsRetired):
            return
        if device.boot_id:
            return
        with tenant_scope(device.tenant_id):
            record(observe(device, [Observation(Kind.REPLACEMENT, now)]))


def _quarantine(device: Device, evidence: Evidence, now: datetime) -> list[DomainEvent]:
    return set_quarantined(device, evidence.reason, evidence.seen, now)
