"""Two boxes that claim to be one device: noticed, kept apart, decided by a member.

The sign of a clone is a return. A box may move from one network to another and may make
itself a new key; but one that is seen here, there and here again within minutes is two.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address

from django.conf import settings
from django.db import transaction

from devices.registry.errors import NotQuarantined
from devices.registry.events import DeviceQuarantined, DeviceReleased
from devices.registry.models import Device, Sighting
from devices.registry.queries import hold
from events.domain_events import DomainEvent
from events.services.outbox import record
from tenants.context import callers_network, current_caller

# A registration ends the token of whoever registered before, so two boxes do it in
# turn at once; a connect may also come over a second line that comes and goes.
RETURNS_OF_A_REGISTRATION = 1
RETURNS_OF_A_CONNECT = 3


def seen_registering(
    device: Device, *, key_digest: str, now: datetime
) -> list[DomainEvent]:
    """Note where a held device registered from, and with which key."""
    seen = _note(device, callers_network(), key_digest, now=now, registering=True)
    return _judged(device, seen, RETURNS_OF_A_REGISTRATION)


def seen_first(device: Device, *, key_digest: str, now: datetime) -> None:
    """Note where a new device comes from: it cannot have been anywhere else."""
    if settings.CLONE_WINDOW_SECONDS:
        _sighting(device, callers_network(), key_digest, now=now, registering=True)


def seen_connecting(device: Device, *, now: datetime) -> list[DomainEvent]:
    """Note that a held device came from somewhere else than the last time.

    Only public addresses count: a private one is more likely a proxy of ours that
    nobody has named in `TRUSTED_PROXIES`.
    """
    address = current_caller().address
    if address is None or not ip_address(address).is_global:
        return []
    seen = _note(device, callers_network(), "", now=now, registering=False)
    return _judged(device, seen, RETURNS_OF_A_CONNECT)


@transaction.atomic
def quarantine(*, device: Device, reason: str = "", now: datetime) -> Device:
    """Give a device nothing from now on but the answer to its connects.

    Raises:
        DeviceIsRetired: it has nothing that could be withheld.
    """
    device = hold(device.pk)
    record(_put(device, reason or "by a member", [], now))
    return device


@transaction.atomic
def release(*, device: Device, now: datetime) -> Device:
    """Trust a device again; what made it doubtful is forgotten.

    Raises:
        NotQuarantined: it is not in quarantine.
        DeviceIsRetired: it is retired.
    """
    device = hold(device.pk)
    if device.quarantined_at is None:
        raise NotQuarantined("The device is not in quarantine.")
    before, device.quarantined_at = device.quarantined_at, None
    device.save(update_fields=["quarantined_at"])
    Sighting.every_tenant.filter(device=device).delete()
    changes = {"quarantined_at": (before, None)}
    fact = DeviceReleased(
        tenant_id=device.tenant_id, device_id=device.pk, at=now, changes=changes
    )
    record([fact])
    return device


def returns(seen: Sequence[str]) -> int:
    """How often somebody came back to where, or to what, they had been before."""
    known: set[str] = set()
    count, last = 0, None
    for item in seen:
        if item != last and item in known:
            count += 1
        known.add(item)
        last = item
    return count


def _note(
    device: Device, network: str, key_digest: str, *, now: datetime, registering: bool
) -> list[Sighting]:
    """Add a sighting; those within the window that a verdict on it may rest on.

    A registration is judged by registrations alone: a line that comes and goes between
    two of them is what a connect is forgiven.
    """
    window = timedelta(seconds=settings.CLONE_WINDOW_SECONDS)
    if not window:
        return []
    earlier = Sighting.objects.filter(device=device)
    earlier.filter(at__lt=now - window).delete()
    known = [item for item in earlier if item.registering or not registering]
    new = _sighting(device, network, key_digest, now=now, registering=registering)
    return [*known, new]


def _sighting(
    device: Device, network: str, key_digest: str, *, now: datetime, registering: bool
) -> Sighting:
    seen = Sighting(
        device=device,
        at=now,
        network=network,
        key_digest=key_digest,
        registering=registering,
    )
    seen.save(force_insert=True)
    return seen


def _judged(
    device: Device, sightings: list[Sighting], allowed: int
) -> list[DomainEvent]:
    for what, seen in (
        ("addresses", [item.network for item in sightings]),
        ("keys", [item.key_digest for item in sightings]),
    ):
        seen = [item for item in seen if item]
        if returns(seen) >= allowed:
            reason = f"seen in turn with different {what}"
            return _put(device, reason, seen[-8:], sightings[-1].at)
    return []


def _put(
    device: Device, reason: str, seen: list[str], now: datetime
) -> list[DomainEvent]:
    if device.quarantined_at is not None:
        return []
    device.quarantined_at = now
    device.save(update_fields=["quarantined_at"])
    return [
        DeviceQuarantined(
            tenant_id=device.tenant_id,
            device_id=device.pk,
            at=now,
            reason=reason,
            seen=seen,
            changes={"quarantined_at": (None, now)},
        )
    ]
