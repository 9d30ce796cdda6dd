"""How devices come into the registry, change in it, and leave it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from devices import hooks
from devices.credentials import renew_device_token, spend
from devices.errors import (
    AlreadyRegistered,
    DeviceIsRetired,
    IdentifiersDisagree,
    InvalidIdentifier,
    NoSuchDevice,
    NothingIdentifies,
)
from devices.facts import (
    DeviceClaimed,
    DeviceRegistered,
    DeviceReregistered,
    DeviceRetired,
    DeviceUpdated,
)
from devices.identifiers import Identifier, NotAnIdentifier, identifying
from devices.models import (
    Device,
    DeviceHardware,
    DeviceIdentifier,
    DeviceTag,
    DeviceToken,
    EnrollmentToken,
    Tag,
)
from devices.presence import heard_of
from events.outbox import Changes, record

RACES = 5  # a race is lost at most once per identifier; more means something is wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """What a box, or a member in its place, says about itself."""

    serial_number: str = ""
    android_id: str = ""
    mac_addresses: tuple[str, ...] = ()
    manufacturer: str = ""
    model: str = ""
    os_version: str = ""
    app_version: str = ""
    screen_width: int | None = None
    screen_height: int | None = None
    name: str = ""

    def identifiers(self) -> list[Identifier]:
        """Its identifiers, normalised and without those that many boxes share.

        Raises:
            InvalidIdentifier: one has not the form of its kind.
            NothingIdentifies: none is left.
        """
        try:
            good, bogus = identifying(
                serial=self.serial_number,
                android=self.android_id,
                macs=self.mac_addresses,
            )
        except NotAnIdentifier as error:
            name = "mac_addresses" if error.kind == "mac_address" else error.kind
            raise InvalidIdentifier(str(error), field=name) from error
        if not good:
            shared = ", ".join(identifier.value for identifier in bogus)
            reason = f" Many boxes share {shared}." if shared else ""
            raise NothingIdentifies(
                "A serial number, Android id or MAC address that only this device "
                f"has is needed.{reason}"
            )
        return good


@dataclass(frozen=True, slots=True)
class Registration:
    """What came of a registration; the token is not kept anywhere."""

    device: Device
    token: str
    created: bool = field(default=False)


class _LostRace(Exception):
    """Somebody else registered one of the identifiers a moment ago."""


def auto_register(
    *, box: Box, now: datetime, admission: EnrollmentToken | None = None
) -> Registration:
    """Register a box by its own word; a known one gets its own device again.

    The database lets one living device hold an identifier. Whoever loses a race for
    one starts over, and then finds the winner's device.

    Args:
        admission: the enrollment token that lets the box in; None for a member's call.

    Raises:
        InvalidIdentifier, NothingIdentifies: see `Box.identifiers`.
        IdentifiersDisagree: the identifiers are those of several devices.
        EnrollmentTokenUsedUp: the box is new and the token has no use left.
    """
    identifiers = box.identifiers()
    for _ in range(RACES):
        try:
            return _auto_register(box, identifiers, now, admission)
        except _LostRace:
            continue
    raise AlreadyRegistered("The device is being registered elsewhere. Try again.")


@transaction.atomic
def register(*, box: Box, tags: Iterable[str] = (), now: datetime) -> Device:
    """Enter a device by hand; the box claims it when it comes with the same identifiers.

    Raises:
        InvalidIdentifier, NothingIdentifies: see `Box.identifiers`.
        AlreadyRegistered: a living device has one of the identifiers.
    """
    identifiers = box.identifiers()
    known = DeviceIdentifier.objects.matching(identifiers).select_related("device")
    for identifier in known:
        raise _registered_already(identifier.kind, identifier.value, identifier.device)
    try:
        with transaction.atomic():
            device = _create(box, identifiers, by="manual", now=now)
    except _LostRace as error:
        raise AlreadyRegistered("The device was registered a moment ago.") from error
    _set_tags(device, tags)
    return device


@transaction.atomic
def update(
    *,
    device: Device,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    now: datetime,
) -> Device:
    """Change what members say of a device; None leaves a thing as it is.

    Raises:
        DeviceIsRetired: history is not rewritten.
    """
    device = _hold(device)
    changes: Changes = {}
    if name is not None and name != device.name:
        changes["name"] = (device.name, name)
        device.name = name
        device.save(update_fields=["name"])
    if tags is not None:
        before, after = _set_tags(device, tags)
        if before != after:
            changes["tags"] = (before, after)
    if changes:
        record([_fact(DeviceUpdated, device, now, changes=changes)])
    return device


@transaction.atomic
def retire(*, device: Device, reason: str = "", now: datetime) -> None:
    """End a device's life: its certificates, its token and its hold on its identifiers.

    Its row, its certificates and its events stay as history. Twice is once.
    """
    try:
        device = _hold(device)
    except DeviceIsRetired:
        return
    hooks.retiring(device.pk, now)
    DeviceToken.every_tenant.filter(device=device).delete()
    DeviceIdentifier.every_tenant.held().filter(device=device).update(released_at=now)
    before = device.status
    device.status = Device.Status.RETIRED
    device.retired_at = now
    device.save(update_fields=["status", "retired_at"])
    changes: Changes = {"status": (before, device.status)}
    record([_fact(DeviceRetired, device, now, reason=reason, changes=changes)])


def living_device(device_id: Any) -> Device:
    """The current tenant's device with this id, if it is not retired.

    Raises:
        NoSuchDevice: it is unknown, retired, or a stranger's.
    """
    device: Device | None = Device.objects.living().filter(pk=device_id).first()
    if device is None:
        raise NoSuchDevice
    return device


@transaction.atomic
def _auto_register(
    box: Box,
    identifiers: list[Identifier],
    now: datetime,
    admission: EnrollmentToken | None,
) -> Registration:
    known = {
        identifier.device_id: identifier.device
        for identifier in DeviceIdentifier.objects.matching(identifiers)
        .select_related("device")
        .order_by("device_id")
    }
    if len(known) > 1:
        raise IdentifiersDisagree(known.values())
    if not known:
        device = _create(box, identifiers, by="auto", now=now)
        _heard_of(device, now)
        token = renew_device_token(device, now=now)
        if admission is not None:
            spend(admission)  # last: others wait for this row until we commit
        return Registration(device, token, created=True)
    (device,) = known.values()
    return Registration(*_take_back(device, box, identifiers, now))


def _take_back(
    device: Device, box: Box, identifiers: list[Identifier], now: datetime
) -> tuple[Device, str]:
    """A known box: bring its facts up to date and give it a fresh token."""
    try:
        device = _hold(device)
    except DeviceIsRetired as error:
        raise _LostRace from error  # retired a moment ago: its identifiers are free
    held = DeviceIdentifier.objects.held().filter(device=device)
    have = {(row.kind, row.value) for row in held}
    _add_identifiers(
        device, [item for item in identifiers if (item.kind, item.value) not in have]
    )
    changes = _refresh(device, box)
    claimed = not DeviceToken.objects.filter(device=device).exists()
    kind = DeviceClaimed if claimed else DeviceReregistered
    record([_fact(kind, device, now, changes=changes)])
    _heard_of(device, now)
    return device, renew_device_token(device, now=now)


def _heard_of(device: Device, now: datetime) -> None:
    """A box that registers itself is there: that is a sign of life."""
    facts = heard_of(device, now=now)
    device.save(update_fields=["status", "last_seen"])
    record(facts)


def _create(
    box: Box, identifiers: list[Identifier], *, by: str, now: datetime
) -> Device:
    serial = (item.value for item in identifiers if item.kind == "serial_number")
    device: Device = Device.objects.create(
        name=box.name or next(serial, identifiers[0].value),
        model=box.model,
        app_version=box.app_version,
        os_version=box.os_version,
        registered_at=now,
    )
    _add_identifiers(device, identifiers)
    DeviceHardware.objects.create(
        device=device,
        manufacturer=box.manufacturer,
        screen_width=box.screen_width,
        screen_height=box.screen_height,
    )
    said = [f"{item.kind}:{item.value}" for item in identifiers]
    record(
        [
            _fact(
                DeviceRegistered,
                device,
                now,
                by=by,
                device_name=device.name,
                identifiers=said,
            )
        ]
    )
    return device


def _add_identifiers(device: Device, identifiers: list[Identifier]) -> None:
    """Give a device its identifiers, in their order: so two such verbs never deadlock."""
    rows = [
        DeviceIdentifier(device=device, kind=item.kind, value=item.value)
        for item in sorted(identifiers)
    ]
    try:
        with transaction.atomic():
            DeviceIdentifier.objects.bulk_create(rows)
    except IntegrityError as error:
        raise _LostRace from error


def _refresh(device: Device, box: Box) -> Changes:
    """Overwrite what the box says of itself; what it does not say stays."""
    changes: Changes = {}
    hardware, _ = DeviceHardware.objects.get_or_create(device=device)
    for row, names in (
        (device, ("model", "app_version", "os_version")),
        (hardware, ("manufacturer", "screen_width", "screen_height")),
    ):
        said = {name: getattr(box, name) for name in names if getattr(box, name)}
        new = {
            name: value for name, value in said.items() if value != getattr(row, name)
        }
        for name, value in new.items():
            changes[name] = (getattr(row, name), value)
            setattr(row, name, value)
        if new:
            row.save(update_fields=list(new))
    return changes


def _set_tags(device: Device, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Make these the device's tags; return the names before and after, in order."""
    after = sorted({name.strip() for name in names if name.strip()})
    worn = DeviceTag.objects.filter(device=device).select_related("tag")
    before = sorted(row.tag.name for row in worn)
    if before != after:
        Tag.objects.bulk_create(
            [Tag(name=name) for name in after], ignore_conflicts=True
        )
        worn.exclude(tag__name__in=after).delete()
        DeviceTag.objects.bulk_create(
            [
                DeviceTag(device=device, tag=tag)
                for tag in Tag.objects.filter(name__in=after)
            ],
            ignore_conflicts=True,
        )
    return before, after


def _hold(device: Device) -> Device:
    """Lock the device's row until the transaction ends.

    Raises:
        DeviceIsRetired: it is.
    """
    held: Device = Device.every_tenant.select_for_update(no_key=True).get(pk=device.pk)
    if held.status == Device.Status.RETIRED:
        raise DeviceIsRetired
    return held


def _registered_already(kind: str, value: str, device: Device) -> AlreadyRegistered:
    field_name = "mac_addresses" if kind == "mac_address" else kind
    return AlreadyRegistered(
        f"{value} belongs to {device.name} ({device.pk}).", field=field_name
    )


def _fact(kind: Any, device: Device, now: datetime, **fields: Any) -> Any:
    return kind(tenant_id=device.tenant_id, device_id=device.pk, at=now, **fields)
