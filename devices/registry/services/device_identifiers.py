"""Give identifiers to a device: one serial number, one Android ID, and some MAC addresses."""

from collections.abc import Iterable
from datetime import datetime

from django.db import IntegrityError

from devices.registry.identifiers import MAX_MAC_ADDRESSES, Identifier
from devices.registry.models import ACTIVE_IDENTIFIER_CONSTRAINT, Device, DeviceIdentifier


def give(device: Device, identifiers: Iterable[Identifier], *, now: datetime) -> None:
    """Give identifiers to a locked device. Those of its present ones that they replace are released.

    A new serial number or Android ID replaces the present one. Of the MAC addresses, the
    oldest are replaced if there are too many.
    """
    rows = list(DeviceIdentifier.objects.in_use().filter(device=device).order_by("id"))
    present = {row.identifier for row in rows}
    new = [item for item in identifiers if item not in present]
    kinds = {item.kind for item in new} - {"mac_address"}
    replaced = [row for row in rows if row.kind in kinds]
    macs = [row for row in rows if row.kind == "mac_address"]
    new_macs = sum(item.kind == "mac_address" for item in new)
    replaced += macs[: max(0, len(macs) + new_macs - MAX_MAC_ADDRESSES)]
    if replaced:
        ids = [row.pk for row in replaced]
        DeviceIdentifier.objects.filter(pk__in=ids).update(released_at=now)
    DeviceIdentifier.objects.bulk_create(rows_of(device, new))


def are_taken(error: IntegrityError) -> bool:
    """Return whether an error means that another device has just got one of the identifiers."""
    return ACTIVE_IDENTIFIER_CONSTRAINT in str(error)


def rows_of(device: Device, identifiers: Iterable[Identifier]) -> list[DeviceIdentifier]:
    """Return unsaved rows in sorted order, so that concurrent insertions cannot deadlock."""
    return [
        DeviceIdentifier(
            device=device,
            kind=item.kind,
            value=item.value,
            written="" if item.written == item.value else item.written,
        )
        for item in sorted(identifiers)
    ]
