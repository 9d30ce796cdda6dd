"""Domain events of preferences and settings."""

from events.domain_events import DomainEvent


class DefinitionEvent(DomainEvent):
    """Base of the events about definitions.

    `tenant_id` is None for the platform's preferences.
    """

    key: str


class PreferenceDefined(DefinitionEvent):
    """A preference was created or changed."""

    name = "preference.defined"


class PreferenceRemoved(DefinitionEvent):
    """A preference was removed.

    If a tenant's preference was removed, the platform preference with the same key is used
    again.
    """

    name = "preference.removed"


class SettingsWritten(DomainEvent):
    """Values or locks of settings were changed. `changes` has the old and the new state."""

    name = "settings.written"
