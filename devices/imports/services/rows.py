"""What a row of a file means for the tenant's devices, and its import."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.querysets import first_or_raise
from core.spreadsheets import protect
from devices.imports.columns import FIELDS
from devices.imports.errors import InvalidRow
from devices.imports.models import ImportRow
from devices.imports.values import RowData, clean
from devices.registry.errors import IdentifierRequired
from devices.registry.identifiers import Identifier, label
from devices.registry.identity import Contest, Verdict
from devices.registry.models import Device, DeviceAttributes, DeviceIdentifier, Site
from devices.registry.services import device_details, registration, sites
from devices.registry.services.attributes import Value, parsed, text_of
from devices.registry.services.device_details import UNCHANGED
from devices.registry.services.identification import Identification, identify
from devices.registry.services.tags import tag_names

Outcome = ImportRow.Outcome


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import does with a row.

    Attributes:
        device: the known device; None for a new one.
        identifiers: what the device gets.
        detail: a sentence for people.
    """

    outcome: Outcome
    device: Device | None
    identifiers: tuple[Identifier, ...]
    detail: str = ""


def plan(data: RowData, *, creates_sites: bool) -> Plan:
    """Compare a row with the devices of the current tenant. Nothing is changed.

    Args:
        creates_sites: whether a site that does not exist will be created.

    Raises:
        DomainError: the row is refused.
    """
    if data.site and not creates_sites:
        sites.find_site(data.site)
    attributes = parsed(data.attributes)
    device, identifiers = _device_of(data)
    if device is None:
        words = ", ".join(f"{label(item)} {item.written or item.value}" for item in identifiers)
        return Plan(Outcome.NEW, None, identifiers, words[:1].upper() + words[1:])
    changes = [*_changes(device, data, identifiers), *_changed_details(device, data, attributes)]
    outcome = Outcome.CHANGED if changes else Outcome.UNCHANGED
    return Plan(outcome, device, identifiers, "; ".join(changes))


def apply(data: RowData, *, creates_sites: bool, now: datetime) -> tuple[Plan, Device]:
    """Import a row. Call the function in a transaction.

    Returns:
        what was done, and the device.

    Raises:
        DomainError: the row is refused.
    """
    planned = plan(data, creates_sites=creates_sites)
    site = _site(data, creates_sites=creates_sites, now=now)
    if planned.device is None:
        device = registration.register_identified(
            data.report, planned.identifiers, tags=data.tags or (), site=site, now=now
        )
        if data.notes or data.attributes:
            device_details.update(
                device=device, notes=data.notes or None, attributes=data.attributes, now=now
            )
        return planned, device
    device = planned.device
    if planned.outcome == Outcome.CHANGED:
        device_details.update(
            device=device,
            name=_new_name(device, data),
            tags=data.tags,
            site=site if data.site else UNCHANGED,
            notes=data.notes or None,
            attributes=data.attributes,
            now=now,
        )
        device_details.add_identifiers(device=device, identifiers=planned.identifiers, now=now)
    return planned, device


def _device_of(data: RowData) -> tuple[Device | None, tuple[Identifier, ...]]:
    """Return the known device of a row, or None, and the identifiers that it does not have yet."""
    try:
        identifiers = data.report.identifiers()
    except IdentifierRequired:
        if data.device_id is None:
            raise
        return registration.get_not_retired_device(data.device_id), ()
    identification = identify(identifiers)
    decision = identification.decision
    if data.device_id is not None:
        return _named_device(data.device_id, identification)
    if decision.verdict is Verdict.UNDECIDED:
        assert decision.device_id is not None
        raise InvalidRow(
            "It is not certain whether the device is"
            f" {_name(decision.device_id)} ({decision.device_id}). Add the device id to the row,"
            " or register the device by hand."
        )
    if decision.contests:
        raise _taken(decision.contests[0])
    if decision.verdict is Verdict.DIFFERENT and not decision.own:
        raise IdentifierRequired(" ".join(item.detail for item in identification.ignored))
    new = tuple(item for item in decision.own if item not in identification.known)
    if decision.device_id is None:
        return None, new
    return registration.get_not_retired_device(decision.device_id), new


def _named_device(
    device_id: UUID, identification: Identification
) -> tuple[Device, tuple[Identifier, ...]]:
    """Return the device that a row names by its id. No identifier may be another device's."""
    device = registration.get_not_retired_device(device_id)
    decision = identification.decision
    for contest in decision.contests:
        if contest.holder != device_id:
            raise _taken(contest)
    if decision.device_id is not None and decision.device_id != device_id:
        raise InvalidRow(f"The identifiers belong to {_name(decision.device_id)}.", field="id")
    rows = DeviceIdentifier.objects.in_use().filter(device=device)
    known = {row.identifier for row in rows}
    new = tuple(item for item in decision.own if item not in known)
    single_kinds = {item.kind for item in known} - {"mac_address"}
    for item in new:
        if item.kind in single_kinds:
            raise InvalidRow(f"The device with this id has another {label(item)}.", field="id")
    return device, new


def _changes(device: Device, data: RowData, identifiers: tuple[Identifier, ...]) -> list[str]:
    """Return what a row changes, such as `Name: Lobby → Entrance`."""
    changes = []
    if (name := _new_name(device, data)) is not None:
        changes.append(f"{FIELDS['name']}: {device.name} → {name}")
    if data.tags is not None and (before := tag_names(device)) != list(data.tags):
        changes.append(f"{FIELDS['tags']}: {', '.join(before) or '-'} → {', '.join(data.tags)}")
    if data.site:
        site = Site.objects.matching(data.site).first()
        if site is None or site.pk != device.site_id:
            before_site = device.site.name if device.site else "-"
            changes.append(f"{FIELDS['site']}: {before_site} → {data.site}")
    changes += [f"Added: {label(item)} {item.written or item.value}" for item in identifiers]
    return changes


def _changed_details(
    device: Device, data: RowData, attributes: Mapping[str, Value | None]
) -> list[str]:
    """Return which notes and attributes a row changes, such as `floor: 1 → 2`."""
    if not data.notes and not attributes:
        return []
    row = DeviceAttributes.objects.filter(device=device).first() or DeviceAttributes()
    before = row.values
    changes = [
        f"{key}: {text_of(before.get(key)) or '-'} → {text_of(value)}"
        for key, value in attributes.items()
        if value != before.get(key)
    ]
    is_noted = data.notes and data.notes != clean(protect(row.notes))
    return [FIELDS["notes"], *changes] if is_noted else changes


def _new_name(device: Device, data: RowData) -> str | None:
    name = data.report.name
    return name if name and name != clean(protect(device.name)) else None


def _site(data: RowData, *, creates_sites: bool, now: datetime) -> Site | None:
    if not data.site:
        return None
    site = Site.objects.matching(data.site).first()
    if site is None and creates_sites:
        return sites.create(name=data.site, now=now)
    return site or sites.find_site(data.site)


def _taken(contest: Contest) -> InvalidRow:
    item = contest.identifier
    shown = item.written or item.value
    text = label(item)
    return InvalidRow(f"{text[:1].upper()}{text[1:]} {shown} belongs to {_name(contest.holder)}.")


def _name(device_id: UUID) -> str:
    missing = InvalidRow("The device was retired meanwhile.")
    return first_or_raise(Device.objects.filter(pk=device_id), missing).name
