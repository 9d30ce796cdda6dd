"""What happens to preferences and settings."""

from events.domain_events import DomainEvent


class DefinitionEvent(DomainEvent):
    """`tenant_id` is None for the platform's."""

    key: str


class PreferenceDefined(DefinitionEvent):
    """There is a setting that devices have, or it is another one now."""

    name = "preference.defined"


class PreferenceRemoved(DefinitionEvent):
    """There is no such setting any more, or it is as the platform has it."""

    name = "preference.removed"


class SettingsWritten(DomainEvent):
    """Settings of a device are different now; `changes` says which, and locks as well."""

    name = "settings.written"
