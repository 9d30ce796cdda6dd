"""How the preferences say no."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import Conflict, Detail, Invalid, Missing


class InvalidDefinition(Invalid):
    code = "invalid_preference"


class PreferenceExists(Conflict):
    code = "preference_exists"
    sentence = "There is a preference of this key already."
    field = "key"


class NotReadable(Invalid):
    """What somebody typed is no value at all."""

    code = "not_readable"


class TooManyDefinitions(Conflict):
    code = "too_many_preferences"


class NoSuchDefinition(Missing):
    code = "preference_not_found"
    sentence = "There is no such preference."


class InvalidSettings(Invalid):
    """Each setting that cannot be so, by its path."""

    code = "invalid_setting"

    def __init__(self, details: Sequence[Detail]) -> None:
        super().__init__(details[0].sentence, field=details[0].field)
        self.details = details


class SettingsLocked(Conflict):
    """What an operator has locked, or what is not the device's to choose."""

    code = "setting_locked"

    def __init__(self, details: Sequence[Detail]) -> None:
        super().__init__(details[0].sentence, field=details[0].field)
        self.details = details


class SettingsChanged(Conflict):
    """Somebody else has written them since they were read; `current` is what is there."""

    code = "setting_changed"

    def __init__(self, current: Mapping[str, Any]) -> None:
        super().__init__("It was written meanwhile.", field=f"settings.{min(current)}")
        self.details = [
            Detail(
                code=self.code,
                sentence=f"It is at version {item['version']} now.",
                field=f"settings.{key}",
            )
            for key, item in current.items()
        ]
        self.current = dict(current)
