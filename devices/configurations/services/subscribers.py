"""What of the registry the configurations hear."""

from devices.configurations.services import effective
from devices.registry.events import DeviceUpdated
from events.extension_points import on


@on(DeviceUpdated)
def other_tags_are_other_layers(fact: DeviceUpdated) -> None:
    if "tags" in fact.changes and fact.device_id is not None:
        effective.refresh([fact.device_id], now=fact.at)
