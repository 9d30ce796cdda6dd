"""How devices come into the registry, change in it, and leave it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.db import IntegrityError, transaction

from devices.registry.device_report import Box
from devices.registry.errors import (
    AlreadyRegistered,
    DeviceIsQuarantined,
    DeviceIsRetired,
    IdentifiersDisagree,
    NoSuchDevice,
)
from devices.registry.events import (
    DeviceClaimed,
    DeviceRegistered,
    DeviceReregistered,
    DeviceRetired,
    DeviceUpdated,
)
from devices.registry.extension_points import device_retiring
from devices.registry.identifiers import Identifier
from devices.registry.models import (
    ONE_LIVING_DEVICE,
    Device,
    DeviceHardware,
    DeviceIdentifier,
    DeviceToken,
    EnrollmentToken,
)
from devices.registry.queries import devices_known_by, hold
from devices.registry.services.credentials import renew_device_token, spend
from devices.registry.services.presence import heard_of, went_online
from devices.registry.services.quarantine import seen_first, seen_registering
from devices.registry.services.reregistration import MustAsk, admit, ask
from devices.registry.services.tags import set_tags
from events.domain_events import Changes, DomainEvent
from events.services.outbox import record
from tenants.context import current_caller

RACES = 5  # a race is lost at most once per identifier; more means something is wrong


@dataclass(frozen=True, slots=True)
class Registration:
    """What came of a registration; the token is not kept anywhere."""

    device: Device
    token: str
    created: bool = field(default=False)


class _RetiredMeanwhile(Exception):
    """The known device was retired a moment ago: its identifiers are free again."""


def auto_register(
    *,
    box: Box,
    now: datetime,
    admission: EnrollmentToken | None = None,
    key_digest: str = "",
) -> Registration:
    """Register a box by its own word; a known one gets its own device again.

    The database lets one living device hold an identifier. Whoever loses a race for
    one starts over, and then finds the winner's device.

    Args:
        admission: the enrollment token that lets the box in; None for a member's call.
        key_digest: of the key that the box asks a certificate for, if it does.

    Raises:
        InvalidIdentifier, NothingIdentifies: see `Box.identifiers`.
        IdentifiersDisagree: the identifiers are those of several devices.
        EnrollmentTokenUsedUp: the box is new and the token has no use left.
        ReregistrationPending, ReregistrationRefused: the box is known, and its token's
            policy or a member holds it back.
        DeviceIsQuarantined: it is.
    """
    identifiers = box.identifiers()
    for _ in range(RACES):
        try:
            return _auto_register(box, identifiers, now, admission, key_digest)
        except _RetiredMeanwhile:
            continue
        except MustAsk as question:
            raise ask(question.device, now=now) from None
        except IntegrityError as error:
            if not _is_lost_race(error):
                raise
    raise AlreadyRegistered("The device is being registered elsewhere. Try again.")


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
            device, facts = _create(box, identifiers, by="manual", now=now)
            set_tags(device, tags)
            record(facts)
    except IntegrityError as error:
        if not _is_lost_race(error):
            raise
        raise AlreadyRegistered("The device was registered a moment ago.") from error
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
    device = hold(device.pk)
    changes: Changes = {}
    if name is not None and name != device.name:
        changes["name"] = (device.name, name)
        device.name = name
        device.save(update_fields=["name"])
    if tags is not None:
        before, after = set_tags(device, tags)
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
        device = hold(device.pk)
    except DeviceIsRetired:
        return
    for act in device_retiring:
        act(device.pk, now)
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
    key_digest: str,
) -> Registration:
    known = devices_known_by(identifiers)
    if len(known) > 1:
        raise IdentifiersDisagree(Device.objects.filter(pk__in=known))
    if not known:
        device, facts = _create(box, identifiers, by="auto", now=now)
        seen_first(device, key_digest=key_digest, now=now)
        record(facts)
        token = renew_device_token(device, now=now)
        if admission is not None:
            spend(admission)  # last: others wait for this row until we commit
        return Registration(device, token, created=True)
    device = _hold_known(known[0])
    claimed = not DeviceToken.objects.filter(device=device).exists()
    if not claimed:
        admit(device, admission, now=now)
    _take_back(device, box, identifiers, now, claimed=claimed)
    record(seen_registering(device, key_digest=key_digest, now=now))
    return Registration(device, renew_device_token(device, now=now))


def _hold_known(device_id: UUID) -> Device:
    try:
        device = hold(device_id)
    except DeviceIsRetired as error:
        raise _RetiredMeanwhile from error
    if device.quarantined_at is not None:
        raise DeviceIsQuarantined
    return device


def _take_back(
    device: Device,
    box: Box,
    identifiers: list[Identifier],
    now: datetime,
    *,
    claimed: bool,
) -> None:
    """Bring the facts of a known and held device up to date."""
    held = DeviceIdentifier.objects.held().filter(device=device)
    have = {(row.kind, row.value) for row in held}
    _add_identifiers(
        device, [item for item in identifiers if (item.kind, item.value) not in have]
    )
    changes = _refresh(device, box)
    kind = DeviceClaimed if claimed else DeviceReregistered
    facts = heard_of(device, now=now)  # a box that registers itself is there
    device.save(update_fields=["status", "last_seen"])
    record([_fact(kind, device, now, changes=changes), *facts])


def _create(
    box: Box,
    identifiers: list[Identifier],
    *,
    by: Literal["auto", "manual"],
    now: datetime,
) -> tuple[Device, list[DomainEvent]]:
    """Write a new device's rows; what there is to announce of it.

    A box that registers itself is there; one that a member enters was never heard of.
    """
    serial = (item.value for item in identifiers if item.kind == "serial_number")
    device: Device = Device.objects.create(
        name=box.name or next(serial, identifiers[0].value),
        model=box.model,
        status=Device.Status.ONLINE if by == "auto" else Device.Status.OFFLINE,
        last_seen=now if by == "auto" else None,
        ip_address=current_caller().address if by == "auto" else None,
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
    about = {"by": by, "device_name": device.name, "identifiers": said}
    facts = [_fact(DeviceRegistered, device, now, **about)]
    if by == "auto":
        facts.append(went_online(device, before=Device.Status.OFFLINE, last_seen=None))
    return device, facts


def _add_identifiers(device: Device, identifiers: list[Identifier]) -> None:
    """Give a device its identifiers, in their order: so two such verbs never deadlock."""
    DeviceIdentifier.objects.bulk_create(
        DeviceIdentifier(device=device, kind=item.kind, value=item.value)
        for item in sorted(identifiers)
    )


def _is_lost_race(error: IntegrityError) -> bool:
    """Whether somebody else registered one of the identifiers a moment ago."""
    return ONE_LIVING_DEVICE in str(error)


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


def _registered_already(kind: str, value: str, device: Device) -> AlreadyRegistered:
    field_name = "mac_addresses" if kind == "mac_address" else kind
    return AlreadyRegistered(
        f"{value} belongs to {device.name} ({device.pk}).", field=field_name
    )


def _fact(kind: Any, device: Device, now: datetime, **fields: Any) -> Any:
    return kind(tenant_id=device.tenant_id, device_id=device.pk, at=now, **fields)
