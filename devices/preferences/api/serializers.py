"""The JSON of preferences and settings, in and out."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import Text, Truth, Value, WholeNumber
from core.rest.strict import Strict
from devices.preferences.models import Kind
from devices.preferences.value_kinds import KEY, LARGEST, MOST_CHOICES

MOST_AT_ONCE = 200
SOURCES_OF_DEFAULTS = [(name, name) for name in ("platform", "tenant")]
SOURCES = [*SOURCES_OF_DEFAULTS, ("device", "device"), ("member", "member")]


class Bound(WholeNumber):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=-LARGEST, max_value=LARGEST, **kwargs)


class DefinitionFields(Strict):
    """What a setting is; of one of the platform's the type is not the tenant's to say."""

    label = Text(max_length=120, required=False, allow_blank=True)  # type: ignore[assignment] # its name in JSON
    description = Text(max_length=500, required=False, allow_blank=True)
    kind = serializers.ChoiceField(choices=Kind.choices, required=False)
    minimum = Bound(required=False, allow_null=True)
    maximum = Bound(required=False, allow_null=True)
    choices = serializers.ListField(
        child=Text(max_length=64), max_length=MOST_CHOICES, required=False
    )
    default = Value()
    device_may_write = Truth(required=False)


class NewDefinitionFields(DefinitionFields):
    key = Text(max_length=64, pattern=KEY)


class PreferenceSerializer(serializers.Serializer[Any]):
    """A setting as the tenant's devices have it."""

    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment] # its name in JSON
    description = serializers.CharField(allow_blank=True)
    kind = serializers.ChoiceField(choices=Kind.choices)
    minimum = serializers.IntegerField(allow_null=True)
    maximum = serializers.IntegerField(allow_null=True)
    choices = serializers.ListField(child=serializers.CharField())
    default = Value()
    device_may_write = serializers.BooleanField()
    source = serializers.ChoiceField(choices=SOURCES_OF_DEFAULTS)  # type: ignore[assignment] # its name in JSON
    default_source = serializers.ChoiceField(choices=SOURCES_OF_DEFAULTS)


class PreferencesSerializer(serializers.Serializer[Any]):
    results = PreferenceSerializer(many=True, help_text="At most 400, by their keys.")


class SettingSerializer(serializers.Serializer[Any]):
    value = Value()
    version = serializers.IntegerField(help_text="Of this value; 0: never written.")
    source = serializers.ChoiceField(  # type: ignore[assignment] # its name in JSON
        choices=SOURCES, help_text="Who has chosen it, or whose default it is."
    )
    default = Value(source="preference.default")
    kind = serializers.ChoiceField(source="preference.kind", choices=Kind.choices)
    locked = serializers.BooleanField(source="is_locked")
    device_may_write = serializers.BooleanField(
        help_text="It is the device's to choose, and not locked."
    )
    updated_at = serializers.DateTimeField(allow_null=True)


class SettingsSerializer(serializers.Serializer[Any]):
    """All settings of a device."""

    version = serializers.CharField(help_text="Of all of them; also the `ETag`.")
    settings = serializers.DictField(child=SettingSerializer())


class ChangeFields(Strict):
    """A new value, or the default again, or a lock."""

    version = WholeNumber(
        min_value=0,
        max_value=2_147_483_647,
        help_text="The one that was read. If it is another now: 409, with what is there.",
    )
    value = Value(required=False, allow_null=True)
    reset = Truth(required=False, help_text="Back to the default.")


class MemberChangeFields(ChangeFields):
    locked = Truth(required=False, help_text="Whether the device may not change it.")


class SettingsFields(Strict):
    settings = serializers.DictField(child=ChangeFields(), allow_empty=False)

    def validate_settings(self, said: dict[str, Any]) -> dict[str, Any]:
        if len(said) > MOST_AT_ONCE:
            raise serializers.ValidationError(f"At most {MOST_AT_ONCE} at once.")
        return said


class MemberSettingsFields(SettingsFields):
    settings = serializers.DictField(child=MemberChangeFields(), allow_empty=False)
