"""Create, change and delete sites."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import ProtectedError, RestrictedError
from jsonschema import Draft202012Validator

from core import weekly_times
from core.characters import is_blank
from core.locks import transaction_lock
from core.querysets import first_or_raise
from core.time_zones import time_zones
from devices.registry.errors import InvalidSite, SiteExists, SiteInUse, SiteNotFound
from devices.registry.events import SiteCreated, SiteDeleted, SiteUpdated
from devices.registry.extension_points import site_deleting
from devices.registry.models import Device, EnrollmentToken, Site
from devices.registry.models.sites import MAX_LEVELS
from events.domain_events import Changes
from events.services.outbox import record
from tenants import revisions
from tenants.context import current_tenant_id

_opening_hours = Draft202012Validator(weekly_times.schema(weekly_times.MAX_TIMES))


@transaction.atomic
def create(*, now: datetime, **fields: Any) -> Site:
    """Create a site of the current tenant.

    Args:
        fields: fields of `Site`.

    Raises:
        InvalidSite: a value is not valid, or the parent has too many levels.
        SiteExists: the tenant has a site with this name.
    """
    _lock_sites()
    site = Site(created_at=now, **_with_current_parent(fields))
    _validate(site)
    site.path = _path(site)
    site.save(force_insert=True)
    if site.time_zone:  # it is a layer of the configuration
        revisions.increment()
    record([SiteCreated(**_event_fields(site, now))])
    return site


@transaction.atomic
def change(*, site: Site, now: datetime, **fields: Any) -> Site:
    """Change a site. If its parent changes, the sites in it move too.

    Args:
        fields: the fields of `Site` to change.

    Raises:
        InvalidSite, SiteExists: see `create`.
        SiteNotFound: the site was deleted.
    """
    _lock_sites()
    site = _get(site.pk)
    fields = _with_current_parent(fields)
    before = {name: getattr(site, name) for name in fields}
    for name, value in fields.items():
        setattr(site, name, value)
    _validate(site)
    moved = _move(site) if "parent" in fields else []
    site.save()
    Site.objects.bulk_update(moved, ["path"])
    changes: Changes = {
        name: (_json_value(before[name]), _json_value(getattr(site, name)))
        for name in fields
        if before[name] != getattr(site, name)
    }
    if changes:
        record([SiteUpdated(**_event_fields(site, now), changes=changes)])
    return site


@transaction.atomic
def delete(*, site: Site, now: datetime) -> None:
    """Delete a site that nothing uses. Retired devices lose it.

    Raises:
        SiteInUse: devices are at the site, sites are in it, or something else is set for it.
        SiteNotFound: the site was deleted.
    """
    _lock_sites()
    site = _get(site.pk)
    devices = Device.objects.not_retired().filter(site=site).count()
    if devices:
        raise SiteInUse(f"{devices:,} device{'s are' if devices > 1 else ' is'} at this site.")
    if site.children.exists():
        raise SiteInUse("Other sites are in this site.")
    tokens = EnrollmentToken.objects.filter(site=site)
    if usable := [token.name for token in tokens if token.state(now) == "usable"]:
        raise SiteInUse(f"New devices get this site by the enrollment token {usable[0]}.")
    Device.objects.filter(site=site).update(site=None)
    for callback in site_deleting:
        callback(site)
    record([SiteDeleted(**_event_fields(site, now))])
    try:
        site.delete()
    except (ProtectedError, RestrictedError) as error:
        raise SiteInUse(f"The site is used by: {_names(error)}.") from error


def find_site(value: str, *, field: str = "site") -> Site:
    """Return the current tenant's site with this name or id.

    Raises:
        InvalidSite: there is none; `field` is the name of the field at fault.
    """
    missing = InvalidSite("There is no such site.", field=field)
    return first_or_raise(Site.objects.matching(value), missing)


def keep_site(site: Site | None) -> Site | None:
    """Prevent the deletion of a site until the commit. Return None if it was deleted already.

    Foreign keys are checked at the commit, when it is too late for an answer.
    """
    if site is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM devices_site WHERE id = %s FOR KEY SHARE", [site.pk])
        return site if cursor.fetchone() is not None else None


def require_site(site: Site | None, *, field: str = "site") -> Site | None:
    """Prevent the deletion of a site until the commit.

    Raises:
        InvalidSite: the site was deleted; `field` is the name of the field at fault.
    """
    if site is not None and keep_site(site) is None:
        raise InvalidSite("There is no such site.", field=field)
    return site


def ids_below(site_id: UUID) -> list[UUID]:
    """Return the ids of a site and of the sites in it."""
    return list(Site.every_tenant.below([site_id]).values_list("pk", flat=True))


def _lock_sites() -> None:
    """Wait for other changes of the tenant's sites, so that the levels stay right."""
    transaction_lock(f"sites of {current_tenant_id()}")


def _with_current_parent(fields: dict[str, Any]) -> dict[str, Any]:
    """Load the parent again, because it may have moved since the caller has read it."""
    parent = fields.get("parent")
    if parent is None:
        return fields
    missing = InvalidSite("There is no such site.", field="parent")
    return {**fields, "parent": first_or_raise(Site.objects.filter(pk=parent.pk), missing)}


def _get(site_id: UUID) -> Site:
    rows = Site.objects.select_related("parent").select_for_update(of=("self",))
    return first_or_raise(rows.filter(pk=site_id), SiteNotFound)


def _path(site: Site) -> list[UUID]:
    """Return the full path that a site has below this parent.

    Raises:
        InvalidSite: there are too many levels, or the parent is at or below the site.
    """
    above: list[UUID] = [] if site.parent is None else list(site.parent.path)
    if site.pk in above:
        raise InvalidSite("A site cannot be in itself.", field="parent")
    if len(above) >= MAX_LEVELS:
        raise InvalidSite(f"Sites have at most {MAX_LEVELS} levels.", field="parent")
    return [*above, site.pk]


def _move(site: Site) -> list[Site]:
    """Set the paths of a site and of the sites in it. Return the latter, which are not saved."""
    others = list(Site.objects.below([site.pk]).exclude(pk=site.pk))
    level = len(site.path)
    site.path = _path(site)
    for other in others:
        other.path = [*site.path, *other.path[level:]]
        if len(other.path) > MAX_LEVELS:
            raise InvalidSite(f"Sites have at most {MAX_LEVELS} levels.", field="parent")
    return others


def _validate(site: Site) -> None:
    if is_blank(site.name) or len(site.name) > 120:
        raise InvalidSite("A name has 1 to 120 characters.", field="name")
    if Site.objects.filter(name=site.name).exclude(pk=site.pk).exists():
        raise SiteExists(f"A site named {site.name!r} already exists.", field="name")
    if site.time_zone and site.time_zone not in time_zones():
        sentence = "Unknown time zone. Use a name of the IANA database, such as Europe/Berlin."
        raise InvalidSite(sentence, field="time_zone")
    if (site.latitude is None) != (site.longitude is None):
        missing = "latitude" if site.latitude is None else "longitude"
        raise InvalidSite("Coordinates need a latitude and a longitude.", field=missing)
    for field, value, limit in (
        ("latitude", site.latitude, 90),
        ("longitude", site.longitude, 180),
    ):
        if value is not None and not -limit <= value <= limit:
            raise InvalidSite(f"The value must be between -{limit} and {limit}.", field=field)
    if error := next(_opening_hours.iter_errors(site.opening_hours), None):
        raise InvalidSite(error.message[:200], field="opening_hours")
    times = weekly_times.from_entries(site.opening_hours)
    if weekly_times.find_overlaps(times):
        raise InvalidSite("The opening hours overlap.", field="opening_hours")


def _names(error: ProtectedError | RestrictedError) -> str:
    """Return the kinds of objects that prevent a deletion."""
    rows: Any = error.args[1]
    return ", ".join(sorted({str(row._meta.verbose_name) for row in rows}))


def _event_fields(site: Site, now: datetime) -> dict[str, Any]:
    return {"tenant_id": site.tenant_id, "at": now, "site_id": str(site.pk), "site": site.name}


def _json_value(value: Any) -> Any:
    return value.name if isinstance(value, Site) else value
