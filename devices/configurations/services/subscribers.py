"""Event subscribers of configurations."""

from devices.configurations.services import effective
from devices.registry.events import DeviceUpdated
from events.extension_points import on


@on(DeviceUpdated)
def recalculate_after_tag_change(event: DeviceUpdated) -> None:
    if "tags" in event.changes and event.device_id is not None:
        effective.refresh([event.device_id], now=event.at)
