"""Find the maintenance windows that are open, and the devices that they concern.

A window in the local time of each device can be open for some devices only. The time zone of a
device is that of its site, or of the nearest site above it that has one.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from core import weekly_times
from core.weekly_times import State
from devices.maintenance.models import MaintenanceWindow, MaintenanceWindowQuerySet
from devices.registry.models import Device, DeviceTag, Site

DEFAULT_ZONE = "UTC"  # of devices whose sites have no time zone

# Whether one of the windows of the parameter `maintenance`, which is the text that `as_json`
# returns, concerns `device`. It is a part of larger statements.
_CONCERNS_DEVICE = f"""
    held.tenant = device.tenant_id AND CASE held.scope
        WHEN 'device' THEN held.device = device.id
        WHEN 'tag' THEN EXISTS (
            SELECT FROM {DeviceTag._meta.db_table} AS held_tag
            WHERE held_tag.device_id = device.id AND held_tag.tag_id = held.tag
        )
        WHEN 'site' THEN EXISTS (
            SELECT FROM {Site._meta.db_table} AS held_site
            WHERE held_site.id = device.site_id AND held_site.path @> array[held.site]
        )
        ELSE true
    END AND (held.zones IS NULL OR coalesce((
        SELECT above.time_zone FROM {Site._meta.db_table} AS own_site
        JOIN {Site._meta.db_table} AS above ON above.id = ANY(own_site.path)
        WHERE own_site.id = device.site_id AND above.time_zone <> ''
        ORDER BY array_position(own_site.path, above.id) DESC LIMIT 1
    ), '{DEFAULT_ZONE}') = ANY(held.zones))"""
_WINDOWS = """jsonb_to_recordset(%(maintenance)s::jsonb) AS held(
    id uuid, tenant uuid, scope text, site uuid, tag bigint, device uuid, zones text[]
)"""
IN_MAINTENANCE = f"EXISTS (SELECT FROM {_WINDOWS} WHERE {_CONCERNS_DEVICE})"
_OF_DEVICE = f"""
    SELECT held.id FROM {_WINDOWS} JOIN {Device._meta.db_table} AS device ON {_CONCERNS_DEVICE}
    WHERE device.id = %(device_id)s
"""


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """A window that is open.

    `zones` are the time zones of the devices for which it is open; None for all zones. `until`
    is when it closes, at the latest in any zone; None if it never does.
    """

    window: MaintenanceWindow
    zones: Sequence[str] | None
    until: datetime | None


def open_windows(rows: MaintenanceWindowQuerySet, *, now: datetime) -> list[OpenWindow]:
    """Return the windows of a queryset that are open."""
    windows = list(rows.may_be_open(now))
    zones = _local_zones([row for row in windows if row.is_local])
    opened = []
    for window in windows:
        states = states_of(window, zones[window.tenant_id], now=now)
        is_open = {zone: state for zone, state in states.items() if state.is_on}
        if is_open:
            ends = [state.until for state in is_open.values()]
            until = None if None in ends else max(end for end in ends if end is not None)
            only = sorted(filter(None, is_open)) if window.is_local else None
            opened.append(OpenWindow(window, only, until))
    return opened


def states_of(
    window: MaintenanceWindow, local_zones: Iterable[str], *, now: datetime
) -> Mapping[str | None, State]:
    """Return whether a window is open, for each time zone; or for None, which means all zones.

    Args:
        local_zones: the time zones that sites of the tenant have.
    """
    if window.recurrence == window.Recurrence.ONCE:
        assert window.starts_at is not None
        assert window.ends_at is not None
        is_on = window.starts_at <= now < window.ends_at
        until = window.ends_at if is_on else window.starts_at
        return {None: State(is_on, until if until > now else None)}
    times = weekly_times.from_entries(window.times)
    if not window.is_local:
        return {None: weekly_times.state_at(times, window.time_zone, now)}
    zones = {*local_zones, DEFAULT_ZONE}
    return {zone: weekly_times.state_at(times, zone, now) for zone in zones}


def concerning(
    device: Device, rows: MaintenanceWindowQuerySet, *, now: datetime
) -> list[OpenWindow]:
    """Return the windows of a queryset that are open for a device."""
    opened = open_windows(rows, now=now)
    if not opened:
        return []
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"maintenance": as_json(opened), "device_id": device.pk}
        cursor.execute(_OF_DEVICE, values)
        ids = {pk for (pk,) in cursor.fetchall()}
    return [item for item in opened if item.window.pk in ids]


def holding_commands(device: Device, *, now: datetime) -> OpenWindow | None:
    """Return a window that holds back the commands of a device, if one is open."""
    rows = MaintenanceWindow.objects.filter(holds_commands=True)
    return next(iter(concerning(device, rows, now=now)), None)


def as_json(opened: Iterable[OpenWindow]) -> str:
    """Return windows as the parameter `maintenance` of `IN_MAINTENANCE`."""
    return json.dumps([_as_record(item) for item in opened])


def local_zones() -> set[str]:
    """Return the time zones that sites of the current tenant have."""
    return set(Site.objects.exclude(time_zone="").order_by().values_list("time_zone", flat=True))


def _as_record(item: OpenWindow) -> dict[str, Any]:
    window = item.window
    ids = {name: getattr(window, f"{name}_id") for name in ("tenant", "site", "tag", "device")}
    return {
        "id": str(window.pk),
        "scope": window.scope,
        "zones": item.zones,
        **{name: str(pk) if pk else None for name, pk in ids.items()},
    }


def _local_zones(windows: Iterable[MaintenanceWindow]) -> dict[Any, set[str]]:
    """Return the time zones that sites of the tenants of windows have."""
    zones: dict[Any, set[str]] = defaultdict(set)
    if tenants := {row.tenant_id for row in windows}:
        rows = Site.every_tenant.filter(tenant_id__in=tenants).exclude(time_zone="").order_by()
        for tenant_id, zone in rows.values_list("tenant_id", "time_zone").distinct():
            zones[tenant_id].add(zone)
    return zones
