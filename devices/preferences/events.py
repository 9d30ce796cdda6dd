"""What happens to preferences and settings."""

from dataclasses import dataclass
from typing import ClassVar

from events.services.outbox import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionFact(Fact):
    """`tenant_id` is None for the platform's."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceDefined(DefinitionFact):
    """There is a setting that devices have, or it is another one now."""

    name: ClassVar = "preference.defined"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceRemoved(DefinitionFact):
    """There is no such setting any more, or it is as the platform has it."""

    name: ClassVar = "preference.removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsWritten(Fact):
    """Settings of a device are different now; `changes` says which, and locks as well."""

    name: ClassVar = "settings.written"
