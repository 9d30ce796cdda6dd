"""Detect cloned devices and put them into quarantine until a member decides.

A device may move to another network or create a new key. If it changes back to an earlier
network or key within minutes, there are probably two devices with the same identifiers.
Such a change back is called a return.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address

from django.conf import settings
from django.db import transaction

from devices.registry.errors import NotQuarantined
from devices.registry.events import DeviceQuarantined, DeviceReleased
from devices.registry.models import Device, Sighting
from devices.registry.queries import lock_device
from events.domain_events import DomainEvent
from events.services.outbox import record
from tenants.context import caller_network, current_caller

# A registration revokes the token of the other clone, which then registers immediately.
# Therefore one return is enough. Connects need more returns, because one device may
# alternate between two uplinks.
MIN_RETURNS_OF_REGISTRATIONS = 1
MIN_RETURNS_OF_CONNECTS = 3


def record_registration_sighting(
    device: Device, *, key_digest: str, now: datetime
) -> list[DomainEvent]:
    """Record the network and key of a registration. Quarantine the device if it is cloned.

    Args:
        device: a locked device.
        key_digest: hexadecimal SHA-256 of the SPKI, or "" if there is no key.

    Returns:
        The events to record.
    """
    sightings = _add_sighting(device, caller_network(), key_digest, now=now, registering=True)
    return _quarantine_clone(device, sightings, MIN_RETURNS_OF_REGISTRATIONS)


def record_first_sighting(device: Device, *, key_digest: str, now: datetime) -> None:
    """Record the network and the key of a new device, which has no earlier sightings."""
    if settings.CLONE_WINDOW_SECONDS:
        _create_sighting(device, caller_network(), key_digest, now=now, registering=True)


def record_connect_sighting(device: Device, *, now: datetime) -> list[DomainEvent]:
    """Record a connect from a new address. Quarantine the device if it is cloned.

    Only public addresses count. A private address probably belongs to a proxy
    that is missing in `TRUSTED_PROXIES`.

    Args:
        device: a locked device.

    Returns:
        The events to record.
    """
    address = current_caller().address
    if address is None or not ip_address(address).is_global:
        return []
    sightings = _add_sighting(device, caller_network(), "", now=now, registering=False)
    return _quarantine_clone(device, sightings, MIN_RETURNS_OF_CONNECTS)


@transaction.atomic
def quarantine(*, device: Device, reason: str = "", now: datetime) -> Device:
    """Put a device into quarantine. Only its `connect` requests are still accepted.

    Raises:
        DeviceIsRetired: the device is retired.
    """
    device = lock_device(device.pk)
    record(_set_quarantined(device, reason or "quarantined by a member", [], now))
    return device


@transaction.atomic
def release(*, device: Device, now: datetime) -> Device:
    """Release a device from quarantine and delete its sightings.

    Raises:
        NotQuarantined: the device is not in quarantine.
        DeviceIsRetired: the device is retired.
    """
    device = lock_device(device.pk)
    if device.quarantined_at is None:
        raise NotQuarantined("The device is not in quarantine.")
    before, device.quarantined_at = device.quarantined_at, None
    device.save(update_fields=["quarantined_at"])
    Sighting.every_tenant.filter(device=device).delete()
    event = DeviceReleased(
        tenant_id=device.tenant_id,
        device_id=device.pk,
        at=now,
        changes={"quarantined_at": (before, None)},
    )
    record([event])
    return device


def count_returns(values: Sequence[str]) -> int:
    """Count the changes back to an earlier value. For example, "ABA" has one return."""
    earlier: set[str] = set()
    count, previous = 0, None
    for value in values:
        if value != previous and value in earlier:
            count += 1
        earlier.add(value)
        previous = value
    return count


def _add_sighting(
    device: Device, network: str, key_digest: str, *, now: datetime, registering: bool
) -> list[Sighting]:
    """Add a sighting. Return it together with the earlier sightings to compare it with.

    A registration is compared with registrations only. Therefore a connect over a second
    uplink between two registrations is tolerated. A connect is compared with all
    sightings. Sightings older than `CLONE_WINDOW_SECONDS` are deleted.
    """
    window = timedelta(seconds=settings.CLONE_WINDOW_SECONDS)
    if not window:
        return []
    sightings = Sighting.objects.filter(device=device)
    sightings.filter(at__lt=now - window).delete()
    earlier = [item for item in sightings if item.registering or not registering]
    new = _create_sighting(device, network, key_digest, now=now, registering=registering)
    return [*earlier, new]


def _create_sighting(
    device: Device, network: str, key_digest: str, *, now: datetime, registering: bool
) -> Sighting:
    sighting = Sighting(
        device=device, at=now, network=network, key_digest=key_digest, registering=registering
    )
    sighting.save(force_insert=True)
    return sighting


def _quarantine_clone(
    device: Device, sightings: list[Sighting], min_returns: int
) -> list[DomainEvent]:
    keys = [item.key_digest for item in sightings]
    has_one_key = all(keys) and len(set(keys)) == 1  # a second device would have another one
    networks = [] if has_one_key else [item.network for item in sightings]
    for plural, seen in (("addresses", networks), ("keys", keys)):
        values = [value for value in seen if value]
        if count_returns(values) >= min_returns:
            reason = f"alternates between different {plural}"
            return _set_quarantined(device, reason, values[-8:], sightings[-1].at)
    return []


def _set_quarantined(
    device: Device, reason: str, values: list[str], now: datetime
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
            seen=values,
            changes={"quarantined_at": (None, now)},
        )
    ]
