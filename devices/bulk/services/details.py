"""The actions on details and on the state of devices."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from devices.bulk.actions import BulkAction, Done, EachDevice, Input, Outcome
from devices.bulk.errors import InvalidParameters
from devices.registry.errors import InvalidTag
from devices.registry.events import DeviceUpdated
from devices.registry.models import Device, DeviceTag, Site, Tag
from devices.registry.services import quarantine, retirement
from devices.registry.services.sites import find_site, require_site
from devices.registry.services.tags import valid_names
from events.domain_events import Changes
from events.services.outbox import record
from tenants.context import current_tenant_id

Tags = dict[UUID, set[str]]


def actions() -> Sequence[BulkAction]:
    """Return the actions of this module."""
    return (AddTags(), RemoveTags(), SetSite(), Quarantine(), Release(), Retire())


class _TagAction(BulkAction):
    can_undo = True
    inputs = (Input("tags", "Tags", "Separate tags with commas, such as lobby, floor 2.", "tags"),)

    def validated(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        _reject_others(parameters, "tags")
        tags = parameters.get("tags")
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise InvalidParameters("A list of tags is required.", field="tags")
        try:
            names = valid_names(tags)
        except InvalidTag as error:
            raise InvalidParameters(str(error), field="tags") from error
        if not 1 <= len(names) <= 20:
            raise InvalidParameters("Enter 1 to 20 tags.", field="tags")
        return {"tags": names}

    def description(self, parameters: Mapping[str, Any]) -> str:
        return f"{self.label}: {', '.join(parameters['tags'])}"


class AddTags(_TagAction):
    """Give devices tags. Devices keep their other tags."""

    name = "add_tags"
    label = "Add tags"
    explanation = "The devices keep their other tags. You can undo this."

    def apply(
        self, devices: Sequence[Device], parameters: Mapping[str, Any], *, now: datetime
    ) -> list[Done]:
        before = _tags_of(devices)
        missing = {
            device.pk: sorted(set(parameters["tags"]) - before[device.pk]) for device in devices
        }
        _add(missing)
        return _done(devices, before, missing, now, _with)

    def revert(
        self,
        devices: Sequence[Device],
        before: Mapping[UUID, Any],
        parameters: Mapping[str, Any],
        *,
        now: datetime,
    ) -> list[Done]:
        return _remove(devices, before, now)


class RemoveTags(_TagAction):
    """Take tags from devices."""

    name = "remove_tags"
    label = "Remove tags"
    explanation = "The devices keep their other tags. You can undo this."

    def apply(
        self, devices: Sequence[Device], parameters: Mapping[str, Any], *, now: datetime
    ) -> list[Done]:
        return _remove(devices, {device.pk: parameters["tags"] for device in devices}, now)

    def revert(
        self,
        devices: Sequence[Device],
        before: Mapping[UUID, Any],
        parameters: Mapping[str, Any],
        *,
        now: datetime,
    ) -> list[Done]:
        present = _tags_of(devices)
        missing = {
            device.pk: sorted(set(before[device.pk]) - present[device.pk]) for device in devices
        }
        _add(missing)
        return _done(devices, present, missing, now, _with)


class SetSite(BulkAction):
    """Move devices to a site, or to none."""

    name = "set_site"
    label = "Set the site"
    explanation = "The devices move from their present site to this one. You can undo this."
    can_undo = True
    inputs = (Input("site", "Site", "Name of the site. If empty, devices have no site.", "site"),)

    def validated(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the id and the name of the site. They are None for no site."""
        _reject_others(parameters, "site")
        if "site" not in parameters:
            raise InvalidParameters("A site is required. Null is no site.", field="site")
        value = parameters["site"]
        if value is None:
            return {"site": None, "name": None}
        if not isinstance(value, str):
            raise InvalidParameters("The name or the id of a site is required.", field="site")
        site = find_site(value)
        return {"site": str(site.pk), "name": site.name}

    def description(self, parameters: Mapping[str, Any]) -> str:
        return f"Move to the site {parameters['name']}" if parameters["site"] else "Remove the site"

    def apply(
        self, devices: Sequence[Device], parameters: Mapping[str, Any], *, now: datetime
    ) -> list[Done]:
        target = UUID(parameters["site"]) if parameters["site"] else None
        return _move(devices, dict.fromkeys((device.pk for device in devices), target), now)

    def revert(
        self,
        devices: Sequence[Device],
        before: Mapping[UUID, Any],
        parameters: Mapping[str, Any],
        *,
        now: datetime,
    ) -> list[Done]:
        moved_to = UUID(parameters["site"]) if parameters["site"] else None
        still_there = [device for device in devices if device.site_id == moved_to]
        targets = {
            device.pk: UUID(before[device.pk]["site"]) if before[device.pk]["site"] else None
            for device in still_there
        }
        moved = [
            Done(device.pk, Outcome.UNCHANGED, "It has another site meanwhile.")
            for device in devices
            if device.site_id != moved_to
        ]
        return [*moved, *_move(still_there, targets, now)]


class Quarantine(EachDevice):
    """Put devices into quarantine."""

    name = "quarantine"
    label = "Put into quarantine"
    explanation = (
        "Only their connect requests are accepted until a member releases them. You can undo this."
    )
    is_harmful = True
    can_undo = True

    def change(self, device: Device, *, now: datetime) -> Done:
        if device.quarantined_at is not None:
            return Done(device.pk, Outcome.UNCHANGED, "It is in quarantine already.")
        since = quarantine.quarantine(device=device, now=now).quarantined_at
        return Done(device.pk, Outcome.DONE, before=since.isoformat() if since else None)

    def restore(self, device: Device, before: Any, *, now: datetime) -> Done:
        since = device.quarantined_at
        if since is None or since != datetime.fromisoformat(before):
            return Done(device.pk, Outcome.UNCHANGED, "It was released meanwhile.")
        quarantine.release(device=device, now=now)
        return Done(device.pk, Outcome.DONE)


class Release(EachDevice):
    """Release devices from quarantine."""

    name = "release"
    label = "Release from quarantine"
    explanation = (
        "Release a device only if no other device uses its identifiers. You can undo this."
    )
    can_undo = True

    def change(self, device: Device, *, now: datetime) -> Done:
        if device.quarantined_at is None:
            return Done(device.pk, Outcome.UNCHANGED, "It is not in quarantine.")
        quarantine.release(device=device, now=now)
        return Done(device.pk, Outcome.DONE, before=True)

    def restore(self, device: Device, before: Any, *, now: datetime) -> Done:
        if device.quarantined_at is not None:
            return Done(device.pk, Outcome.UNCHANGED, "It is in quarantine already.")
        quarantine.quarantine(device=device, now=now)
        return Done(device.pk, Outcome.DONE)


class Retire(EachDevice):
    """Retire devices."""

    name = "retire"
    label = "Retire"
    explanation = "Their certificates and tokens are revoked. This cannot be undone."
    is_harmful = True

    def change(self, device: Device, *, now: datetime) -> Done:
        retirement.retire(device=device, reason="retired by a member", now=now)
        return Done(device.pk, Outcome.DONE)


def _reject_others(parameters: Mapping[str, Any], *names: str) -> None:
    if unknown := sorted(set(parameters) - set(names)):
        raise InvalidParameters("This parameter does not exist.", field=unknown[0])


def _tags_of(devices: Sequence[Device]) -> Tags:
    tags: Tags = defaultdict(set)
    rows = DeviceTag.objects.filter(device__in=[device.pk for device in devices])
    for device_id, name in rows.order_by().values_list("device_id", "tag__name"):
        tags[device_id].add(name)
    return tags


def _add(missing: Mapping[UUID, Collection[str]]) -> None:
    names = sorted({name for tags in missing.values() for name in tags})
    if not names:
        return
    Tag.objects.bulk_create([Tag(name=name) for name in names], ignore_conflicts=True)
    ids = dict(Tag.objects.filter(name__in=names).values_list("name", "pk"))
    rows = [(str(pk), ids[name]) for pk, tags in missing.items() for name in tags]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO devices_devicetag (tenant_id, device_id, tag_id)
            SELECT %s, added.* FROM unnest(%s::uuid[], %s::bigint[]) AS added
            ON CONFLICT (device_id, tag_id) DO NOTHING
            """,
            [current_tenant_id(), *map(list, zip(*rows, strict=True))],
        )


def _remove(
    devices: Sequence[Device], tags: Mapping[UUID, Collection[str]], now: datetime
) -> list[Done]:
    before = _tags_of(devices)
    present = {device.pk: sorted(before[device.pk] & set(tags[device.pk])) for device in devices}
    for names in {tuple(names) for names in present.values() if names}:
        ids = [device_id for device_id, own in present.items() if tuple(own) == names]
        DeviceTag.objects.filter(device__in=ids, tag__name__in=names).delete()
    return _done(devices, before, present, now, _without)


def _with(before: set[str], names: Iterable[str]) -> set[str]:
    return before | set(names)


def _without(before: set[str], names: Iterable[str]) -> set[str]:
    return before - set(names)


def _done(
    devices: Sequence[Device],
    before: Tags,
    names: Mapping[UUID, list[str]],
    now: datetime,
    after: Any,
) -> list[Done]:
    """Record the changed tags of devices, and return the results."""
    record(
        _updated(
            device,
            {
                "tags": (
                    sorted(before[device.pk]),
                    sorted(after(before[device.pk], names[device.pk])),
                )
            },
            now,
        )
        for device in devices
        if names[device.pk]
    )
    return [
        Done(device.pk, Outcome.DONE, before=names[device.pk])
        if names[device.pk]
        else Done(device.pk, Outcome.UNCHANGED)
        for device in devices
    ]


def _move(
    devices: Sequence[Device], targets: Mapping[UUID, UUID | None], now: datetime
) -> list[Done]:
    """Set the sites of devices. A site that was deleted meanwhile is refused."""
    ids = {pk for pk in (*targets.values(), *(device.site_id for device in devices)) if pk}
    known = {site.pk: site for site in Site.objects.filter(pk__in=ids)}
    results, events = [], []
    for target in set(targets.values()):
        group = [device for device in devices if targets[device.pk] == target]
        if target is not None and target not in known:
            results += [Done(item.pk, Outcome.REFUSED, "The site was deleted.") for item in group]
            continue
        site = require_site(known[target]) if target is not None else None
        moved = [device for device in group if device.site_id != target]
        Device.objects.filter(pk__in=[device.pk for device in moved]).update(site=site)
        for device in moved:
            old = known[device.site_id] if device.site_id else None
            change = (old.name if old else None, site.name if site else None)
            events.append(_updated(device, {"site": change}, now))
            before = {"site": str(device.site_id) if device.site_id else None}
            results.append(Done(device.pk, Outcome.DONE, before=before))
        results += [
            Done(device.pk, Outcome.UNCHANGED) for device in group if device.site_id == target
        ]
    record(events)
    return results


def _updated(device: Device, changes: Changes, now: datetime) -> DeviceUpdated:
    return DeviceUpdated(tenant_id=device.tenant_id, device_id=device.pk, at=now, changes=changes)
