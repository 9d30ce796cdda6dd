"""Errors raised by the preference services."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import Conflict, Detail, Invalid, Missing


class InvalidDefinition(Invalid):
    code = "invalid_preference"


class PreferenceExists(Conflict):
    code = "preference_exists"
    sentence = "A preference with this key already exists."
    field = "key"


class UnreadableValue(Invalid):
    """Text from a form cannot be parsed as a value of the preference's kind."""

    code = "not_readable"


class TooManyDefinitions(Conflict):
    code = "too_many_preferences"


class NoSuchDefinition(Missing):
    code = "preference_not_found"
    sentence = "The preference does not exist."


class InvalidSettings(Invalid):
    """Settings do not exist or have invalid values. `details` contains each fault."""

    code = "invalid_setting"

    def __init__(self, details: Sequence[Detail]) -> None:
        super().__init__(details[0].sentence, field=details[0].field)
        self.details = details


class SettingsLocked(Conflict):
    """A device may not write settings that are locked or that only members may write."""

    code = "setting_locked"

    def __init__(self, details: Sequence[Detail]) -> None:
        super().__init__(details[0].sentence, field=details[0].field)
        self.details = details


class SettingsChanged(Conflict):
    """Settings were written after the caller had read them. `current` has the new values."""

    code = "setting_changed"

    def __init__(self, current: Mapping[str, Any]) -> None:
        super().__init__(
            "The setting was changed in the meantime.", field=f"settings.{min(current)}"
        )
        self.details = [
            Detail(
                code=self.code,
                sentence=f"The setting is now at version {item['version']}.",
                field=f"settings.{key}",
            )
            for key, item in current.items()
        ]
        self.current = dict(current)
