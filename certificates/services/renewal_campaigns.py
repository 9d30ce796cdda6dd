"""Renewals pulled forward: a whole fleet, a tenant or a model, at the operator's rate."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef

from certificates.errors import AlreadyRunning, NoSuchCampaign, NothingToRenew
from certificates.events import RenewalsPulledForward
from certificates.models import (
    CertificateQuerySet,
    DeviceCertificate,
    RenewalCampaign,
)
from devices.registry.models import Device
from events.services.outbox import record
from tenants.context import tenant_scope
from tenants.models import Tenant

LOOKED_UP_FOR = timedelta(seconds=10)
MINUTE = timedelta(minutes=1)
LEASE = timedelta(minutes=10)  # till then a renewal is under way; then it was lost

_running: tuple[datetime, list[RenewalCampaign]] | None = None


@transaction.atomic
def pull_forward(
    *,
    reason: str,
    per_minute: int,
    tenant: Tenant | None = None,
    model: str = "",
    authority_key_id: str = "",
    now: datetime,
) -> RenewalCampaign:
    """Renew what was issued so far and is in use, so many a minute.

    Args:
        tenant, model, authority_key_id: narrow it; without them it is everything.

    Raises:
        NothingToRenew: no certificate is in its scope.
        AlreadyRunning: one with this very scope is under way.
    """
    campaign = RenewalCampaign(
        tenant=tenant,
        model=model,
        authority_key_id=authority_key_id,
        reason=reason,
        per_minute=per_minute,
        started_at=now,
    )
    campaign.certificates = _scope(campaign).count()
    if campaign.certificates == 0:
        raise NothingToRenew("No certificate in use is in this scope.")
    try:
        with transaction.atomic():
            campaign.save(force_insert=True)
    except IntegrityError as error:
        raise AlreadyRunning("The same renewals are pulled forward already.") from error
    record([_fact(campaign, now)])
    forget()
    return campaign


@transaction.atomic
def stop(campaign_id: UUID, *, now: datetime) -> RenewalCampaign:
    """End a campaign before it is done; what it has not reached keeps its own time.

    Raises:
        NoSuchCampaign: there is none with this id.
    """
    held = RenewalCampaign.objects.select_for_update()
    campaign: RenewalCampaign | None = held.filter(pk=campaign_id).first()
    if campaign is None:
        raise NoSuchCampaign
    if campaign.ended_at is None:
        campaign.ended_at, campaign.stopped = now, True
        campaign.save(update_fields=["ended_at", "stopped"])
        record([_fact(campaign, now)])
    forget()
    return campaign


def advance(*, now: datetime) -> list[UUID]:
    """The certificates whose turn has come by now, of every running campaign."""
    due: list[UUID] = []
    for pk in RenewalCampaign.objects.running().values_list("pk", flat=True):
        due += _advance(pk, now)
    return due


def turn_of(
    device: Device, *, serial_number: str, issued_at: datetime | None, now: datetime
) -> tuple[datetime, str] | None:
    """When a running campaign reaches a device's certificate, and its reason."""
    for campaign in _running_campaigns(now):
        if issued_at is not None and issued_at >= campaign.started_at:
            continue  # one whose time of issue is not at hand is older than that
        if campaign.tenant_id not in (None, device.tenant_id):
            continue
        if campaign.model not in ("", device.model):
            continue
        authority = campaign.authority_key_id
        if authority and not _is_signed_by(serial_number, authority):
            continue
        return campaign.reaches(serial_number), campaign.reason
    return None


def forget() -> None:
    """Look the running campaigns up again at the next question."""
    global _running
    _running = None


@transaction.atomic
def _advance(campaign_id: UUID, now: datetime) -> list[UUID]:
    held = RenewalCampaign.objects.running().select_for_update(skip_locked=True)
    campaign: RenewalCampaign | None = held.filter(pk=campaign_id).first()
    if campaign is None:
        return []
    allowed = _allowed(campaign, now)
    if allowed == 0:
        return []
    found = _following(campaign, allowed, now)
    if not found and not _scope(campaign).exists():
        campaign.ended_at = now
        record([_fact(campaign, now)])
    # What was sent and not renewed, for whatever reason, is met again in the next round.
    campaign.reached = found[-1][1] if len(found) == allowed else ""
    campaign.renewed = min(campaign.renewed + len(found), campaign.certificates)
    campaign.advanced_at = now
    campaign.save(update_fields=["reached", "renewed", "advanced_at", "ended_at"])
    return [pk for pk, _ in found]


def _following(
    campaign: RenewalCampaign, most: int, now: datetime
) -> list[tuple[UUID, str]]:
    """The next ones in the order of their serial numbers, leased to be renewed."""
    ahead = _scope(campaign).filter(serial_number__gt=campaign.reached).ready(now)
    found = list(
        ahead.order_by("serial_number").values_list("pk", "serial_number")[:most]
    )
    DeviceCertificate.objects.filter(pk__in=[pk for pk, _ in found]).update(
        renew_after=now + LEASE
    )
    return found


def _allowed(campaign: RenewalCampaign, now: datetime) -> int:
    """So many for the time since the last step, but never more than for one minute.

    What an outage held up is not caught up with: a fleet must not come all at once.
    """
    passed = MINUTE
    if campaign.advanced_at is not None:
        passed = min(now - campaign.advanced_at, MINUTE)
    return max(0, round(campaign.per_minute * (passed / MINUTE)))


def _scope(campaign: RenewalCampaign) -> CertificateQuerySet:
    """In use, and from before the campaign; renewed ones fall out by themselves."""
    certificates: CertificateQuerySet = DeviceCertificate.objects.active().filter(
        issued_at__lt=campaign.started_at
    )
    if campaign.authority_key_id:
        certificates = certificates.signed_by(campaign.authority_key_id)
    if campaign.tenant_id is None and not campaign.model:
        return certificates
    devices = Device.every_tenant.all()
    if campaign.tenant_id is not None:
        with tenant_scope(campaign.tenant_id):
            devices = Device.objects.all()
    if campaign.model:
        devices = devices.filter(model=campaign.model)
    return certificates.filter(Exists(devices.filter(pk=OuterRef("device_id"))))


def _running_campaigns(now: datetime) -> list[RenewalCampaign]:
    """As they were some seconds ago at most: every connect asks, and mostly there are none."""
    global _running
    if _running is None or not timedelta(0) <= now - _running[0] < LOOKED_UP_FOR:
        _running = (now, list(RenewalCampaign.objects.running()))
    return _running[1]


def _is_signed_by(serial_number: str, authority_key_id: str) -> bool:
    signed = DeviceCertificate.objects.signed_by(authority_key_id)
    return signed.filter(serial_number=serial_number).exists()


def _fact(campaign: RenewalCampaign, now: datetime) -> RenewalsPulledForward:
    return RenewalsPulledForward(
        tenant_id=campaign.tenant_id,
        at=now,
        reason=campaign.reason,
        per_minute=campaign.per_minute,
        ended=campaign.ended_at is not None,
    )
