"""What of the registry the configurations hear."""

from devices.configurations import effective
from devices.facts import DeviceRegistered, DeviceUpdated
from events.outbox import Fact, on


@on(DeviceRegistered)
def new_devices_get_what_they_should_have(fact: DeviceRegistered) -> None:
    _refresh(fact)


@on(DeviceUpdated)
def other_tags_are_other_layers(fact: DeviceUpdated) -> None:
    if "tags" in fact.changes:
        _refresh(fact)


def _refresh(fact: Fact) -> None:
    assert fact.device_id is not None
    effective.refresh([fact.device_id], now=fact.at)
