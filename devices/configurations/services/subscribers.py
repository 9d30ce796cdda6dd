"""Event subscribers of configurations."""

from devices.configurations.services import effective, recalculation
from devices.registry.events import DeviceUpdated, SiteUpdated
from devices.registry.models import Site
from events.extension_points import on


@on(DeviceUpdated)
def recalculate_after_tag_change(event: DeviceUpdated) -> None:
    if {"tags", "site"} & event.changes.keys() and event.device_id is not None:
        effective.refresh([event.device_id], now=event.at)


@on(SiteUpdated)
def recalculate_after_site_change(event: SiteUpdated) -> None:
    if {"parent", "time_zone"} & event.changes.keys():
        site = Site.objects.filter(pk=event.site_id).first()
        if site is not None:
            recalculation.request(site=site, now=event.at)
