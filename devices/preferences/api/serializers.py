"""Serializers of the preference and settings API."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from core.rest.fields import JSONValueField, StrictBooleanField, StrictCharField, StrictIntegerField
from core.rest.ignored import IgnoredSerializer
from core.rest.strict import StrictSerializer
from core.rest.tolerant import TolerantSerializer
from devices.preferences.models import Kind
from devices.preferences.value_kinds import KEY, LARGEST, MAX_CHOICES

MAX_CHANGES = 200
SOURCES_OF_DEFAULTS = [(name, name) for name in ("platform", "tenant")]
SOURCES = [*SOURCES_OF_DEFAULTS, ("device", "device"), ("member", "member")]


class BoundField(StrictIntegerField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=-LARGEST, max_value=LARGEST, **kwargs)


class DefinitionFields(StrictSerializer):
    """The definition of a preference.

    If the platform has a preference with this key, `kind`, the limits and `choices` are
    ignored.
    """

    label: Any = StrictCharField(max_length=120, required=False, allow_blank=True)
    description = StrictCharField(max_length=500, required=False, allow_blank=True)
    kind = serializers.ChoiceField(choices=Kind.choices, required=False)
    minimum = BoundField(required=False, allow_null=True)
    maximum = BoundField(required=False, allow_null=True)
    choices = serializers.ListField(
        child=StrictCharField(max_length=64), max_length=MAX_CHOICES, required=False
    )
    default = JSONValueField()
    device_may_write = StrictBooleanField(required=False)


class NewDefinitionFields(DefinitionFields):
    key = StrictCharField(max_length=64, pattern=KEY)


class PreferenceSerializer(serializers.Serializer[Any]):
    """A preference as it applies to the tenant's devices."""

    key = serializers.CharField()
    label: Any = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    kind = serializers.ChoiceField(choices=Kind.choices)
    minimum = serializers.IntegerField(allow_null=True)
    maximum = serializers.IntegerField(allow_null=True)
    choices = serializers.ListField(child=serializers.CharField())
    default = JSONValueField()
    device_may_write = serializers.BooleanField()
    source: Any = serializers.ChoiceField(choices=SOURCES_OF_DEFAULTS)
    default_source = serializers.ChoiceField(choices=SOURCES_OF_DEFAULTS)


class PreferencesSerializer(serializers.Serializer[Any]):
    results = PreferenceSerializer(
        many=True, help_text="All preferences, at most 400, sorted by key."
    )


class SettingSerializer(serializers.Serializer[Any]):
    value = JSONValueField()
    version = serializers.IntegerField(
        help_text="The version of the setting, 0 if it was never written."
    )
    source: Any = serializers.ChoiceField(
        choices=SOURCES, help_text="Who set the value, or whose default is used."
    )
    default = JSONValueField(source="preference.default")
    kind = serializers.ChoiceField(source="preference.kind", choices=Kind.choices)
    locked = serializers.BooleanField(source="is_locked")
    device_may_write = serializers.BooleanField(
        help_text="True if the device may change the setting and no lock is set."
    )
    updated_at = serializers.DateTimeField(allow_null=True)


@extend_schema_serializer(component_name="DeviceSettings")
class SettingsSerializer(serializers.Serializer[Any]):
    """All settings of a device."""

    version = serializers.CharField(help_text="The version of all settings, equal to the `ETag`.")
    settings = serializers.DictField(child=SettingSerializer())


VERSION_HELP = (
    "The version that was read. If the setting has another version now, the response is 409 with"
    " the present value."
)


class VersionField(StrictIntegerField):
    def __init__(self) -> None:
        super().__init__(min_value=0, max_value=2_147_483_647, help_text=VERSION_HELP)


class ChangeFields(TolerantSerializer):
    """A device's change of one setting: a new value or a reset."""

    version = VersionField()
    value = JSONValueField(required=False, allow_null=True)
    reset = StrictBooleanField(required=False, help_text="True resets the setting to its default.")


class SettingsFields(TolerantSerializer):
    settings = serializers.DictField(child=ChangeFields(), allow_empty=False)


class MemberChangeFields(StrictSerializer):
    """A change of one setting: a new value, a reset, or a lock."""

    version = VersionField()
    value = JSONValueField(required=False, allow_null=True)
    reset = StrictBooleanField(required=False, help_text="True resets the setting to its default.")
    locked = StrictBooleanField(
        required=False, help_text="Keep the device from changing the setting."
    )


class MemberSettingsFields(StrictSerializer):
    settings = serializers.DictField(child=MemberChangeFields(), allow_empty=False)

    def validate_settings(self, changes: dict[str, Any]) -> dict[str, Any]:
        if len(changes) > MAX_CHANGES:
            raise serializers.ValidationError(
                f"At most {MAX_CHANGES} settings can be changed at once."
            )
        return changes


@extend_schema_serializer(component_name="WrittenDeviceSettings")
class WrittenSettingsSerializer(SettingsSerializer):
    """All settings of a device after it has written some."""

    ignored = IgnoredSerializer(many=True)
