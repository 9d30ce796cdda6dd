"""Domain events of the hawkBit API."""

from events.domain_events import DomainEvent


class HawkbitSettingsChanged(DomainEvent):
    """The hawkBit API was switched on or off, or polls have another interval."""

    name = "hawkbit.settings_changed"
