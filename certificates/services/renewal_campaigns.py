"""Renewal campaigns: renew the certificates of a fleet, tenant, model or CA early."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef

from certificates.errors import AlreadyRunning, NoSuchCampaign, NothingToRenew
from certificates.events import RenewalsPulledForward
from certificates.models import CertificateQuerySet, DeviceCertificate, RenewalCampaign
from core.querysets import first_or_raise
from devices.registry.models import Device
from events.services.outbox import record
from tenants.context import tenant_scope
from tenants.models import Tenant

CACHE_LIFETIME = timedelta(seconds=10)
MINUTE = timedelta(minutes=1)
LEASE = timedelta(minutes=10)  # a renewal that takes longer is considered lost

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
    """Start a campaign that renews the certificates now in use before they are due.

    The scope of the campaign is given by `tenant`, `model` and `authority_key_id`.

    Args:
        reason: the text that devices see with their renewal window.
        per_minute: how many certificates are renewed per minute.
        tenant: only certificates of this tenant's devices.
        model: only certificates of devices of this model.
        authority_key_id: only certificates of this CA (key identifier, hex).

    Raises:
        NothingToRenew: no certificate is in scope.
        AlreadyRunning: a campaign with the same scope is running.
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
        raise NothingToRenew("No certificate in use matches this scope.")
    try:
        with transaction.atomic():
            campaign.save(force_insert=True)
    except IntegrityError as error:
        raise AlreadyRunning(
            "A renewal campaign with the same scope is already running."
        ) from error
    record([_event(campaign, now)])
    clear_cache()
    return campaign


@transaction.atomic
def stop(campaign_id: UUID, *, now: datetime) -> RenewalCampaign:
    """Stop a campaign. The remaining certificates are renewed at their regular time.

    Stopping a campaign that has ended has no effect.

    Raises:
        NoSuchCampaign: no campaign has this id.
    """
    locked = RenewalCampaign.objects.select_for_update()
    campaign = first_or_raise(locked.filter(pk=campaign_id), NoSuchCampaign)
    if campaign.ended_at is None:
        campaign.ended_at, campaign.stopped = now, True
        campaign.save(update_fields=["ended_at", "stopped"])
        record([_event(campaign, now)])
    clear_cache()
    return campaign


def advance(*, now: datetime) -> list[UUID]:
    """Advance every running campaign. Return the ids of the certificates to renew now."""
    due: list[UUID] = []
    for pk in RenewalCampaign.objects.running().values_list("pk", flat=True):
        due += _advance(pk, now)
    return due


def early_renewal(
    device: Device, *, serial_number: str, issued_at: datetime | None, now: datetime
) -> tuple[datetime, str] | None:
    """Return when and for what reason a running campaign will renew a device's certificate.

    Args:
        issued_at: when the certificate was issued. If it is None, the certificate is treated
            as issued before the campaign.

    Returns:
        None if no running campaign includes the certificate.
    """
    for campaign in _running_campaigns(now):
        if issued_at is not None and issued_at >= campaign.started_at:
            continue
        if campaign.tenant_id not in (None, device.tenant_id):
            continue
        if campaign.model not in ("", device.model):
            continue
        authority = campaign.authority_key_id
        if authority and not _is_signed_by(serial_number, authority):
            continue
        return campaign.expected_renewal_at(serial_number), campaign.reason
    return None


def clear_cache() -> None:
    """Clear the cache of running campaigns."""
    global _running
    _running = None


@transaction.atomic
def _advance(campaign_id: UUID, now: datetime) -> list[UUID]:
    locked = RenewalCampaign.objects.running().select_for_update(skip_locked=True)
    campaign = locked.filter(pk=campaign_id).first()
    if campaign is None:
        return []
    limit = _allowance(campaign, now)
    if limit == 0:
        return []
    leased = _lease_next(campaign, limit, now)
    if not leased and not _scope(campaign).exists():
        campaign.ended_at = now
        record([_event(campaign, now)])
    # At the end of the scope, start again from the beginning. So certificates that were
    # queued but not renewed, for whatever reason, are queued again.
    campaign.reached = leased[-1][1] if len(leased) == limit else ""
    campaign.renewed = min(campaign.renewed + len(leased), campaign.certificates)
    campaign.advanced_at = now
    campaign.save(update_fields=["reached", "renewed", "advanced_at", "ended_at"])
    return [pk for pk, _ in leased]


def _lease_next(campaign: RenewalCampaign, limit: int, now: datetime) -> list[tuple[UUID, str]]:
    """Reserve the next certificates for one worker, in the order of their serial numbers."""
    remaining = _scope(campaign).filter(serial_number__gt=campaign.reached)
    ordered = remaining.ready_for_renewal(now).order_by("serial_number")
    rows = list(ordered.values_list("pk", "serial_number")[:limit])
    DeviceCertificate.objects.filter(pk__in=[pk for pk, _ in rows]).update(renew_after=now + LEASE)
    return rows


def _allowance(campaign: RenewalCampaign, now: datetime) -> int:
    """Return how many certificates a campaign may renew now.

    The number is proportional to the time since the campaign last advanced, of which at
    most one minute is counted. Time lost in an outage is not made up for, because the whole
    fleet must not renew at once.
    """
    elapsed = MINUTE
    if campaign.advanced_at is not None:
        elapsed = min(now - campaign.advanced_at, MINUTE)
    return max(0, round(campaign.per_minute * (elapsed / MINUTE)))


def _scope(campaign: RenewalCampaign) -> CertificateQuerySet:
    """Certificates in use that were issued before the campaign started.

    A renewed certificate leaves the scope because its successor was issued later.
    """
    certificates = DeviceCertificate.objects.active().filter(issued_at__lt=campaign.started_at)
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
    """Return the running campaigns. They are cached for `CACHE_LIFETIME`.

    Every `connect` request reads the campaigns, and usually there are none.
    """
    global _running
    if _running is None or not timedelta(0) <= now - _running[0] < CACHE_LIFETIME:
        _running = (now, list(RenewalCampaign.objects.running()))
    return _running[1]


def _is_signed_by(serial_number: str, authority_key_id: str) -> bool:
    certificates = DeviceCertificate.objects.signed_by(authority_key_id)
    return certificates.filter(serial_number=serial_number).exists()


def _event(campaign: RenewalCampaign, now: datetime) -> RenewalsPulledForward:
    return RenewalsPulledForward(
        tenant_id=campaign.tenant_id,
        at=now,
        reason=campaign.reason,
        per_minute=campaign.per_minute,
        ended=campaign.ended_at is not None,
    )
