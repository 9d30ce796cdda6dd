"""The JSON of configurations, in and out."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.rest.fields import Text, Value, WholeNumber
from core.rest.strict import Strict
from devices.configurations.document_validation import SCHEMA
from devices.configurations.models import (
    ConfigurationVersion,
    ReportedConfiguration,
    Scope,
)
from devices.configurations.services.layers import LONGEST_NOTE
from devices.configurations.services.preview import NAMED

VERSION = r"[0-9a-f]{64}"
SCOPES = [choice for choice in Scope.choices if choice[0] != Scope.PLATFORM]


@extend_schema_field(
    {name: value for name, value in SCHEMA.items() if not name.startswith("$")}
)
class DocumentField(serializers.JSONField):
    """A layer's document; the published schema and the service judge it."""


@extend_schema_field({"type": "object", "additionalProperties": True})
class Anything(serializers.JSONField):
    """An object, whatever it holds."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            self.fail("invalid")
        return data


class SubjectFields(Strict):
    """Whom a layer is for."""

    scope = serializers.ChoiceField(choices=SCOPES)
    tag = Text(max_length=64, required=False, help_text="Its name.")
    device = serializers.UUIDField(required=False)


class ConfigurationFields(SubjectFields):
    document = DocumentField()
    note = Text(max_length=LONGEST_NOTE, required=False, allow_blank=True)
    based_on = WholeNumber(
        min_value=0,
        max_value=2_147_483_647,
        required=False,
        help_text="The number that the author has seen, 0 for none. Another one is a 409.",
    )


class NewVersionFields(Strict):
    document = DocumentField()
    note = Text(max_length=LONGEST_NOTE, required=False, allow_blank=True)
    based_on = WholeNumber(min_value=0, max_value=2_147_483_647, required=False)


class RestoreFields(Strict):
    based_on = WholeNumber(min_value=0, max_value=2_147_483_647, required=False)


class PreviewFields(SubjectFields):
    document = DocumentField()
    after = serializers.UUIDField(
        required=False, help_text="Go on with the devices after this one."
    )
    limit = WholeNumber(min_value=1, max_value=5 * NAMED, required=False)


class OrderFields(Strict):
    tags = serializers.ListField(
        child=Text(max_length=64),
        max_length=10_000,
        help_text="Every tag that has a configuration, the strongest last.",
    )


class LayerSerializer(serializers.Serializer[Any]):
    """A layer as it is now; the platform's has no id."""

    id = serializers.UUIDField(allow_null=True)
    scope = serializers.ChoiceField(choices=Scope.choices)
    tag = serializers.CharField(source="tag.name", allow_null=True, default=None)
    device = serializers.UUIDField(source="device_id", allow_null=True, default=None)
    rank = serializers.IntegerField(allow_null=True, default=None)
    number = serializers.IntegerField(help_text="Of its version; 0: never saved.")
    document = Anything()
    updated_at = serializers.DateTimeField(allow_null=True)


class ConfigurationSerializer(LayerSerializer):
    """A tenant's layer."""

    id = serializers.UUIDField()


class VersionSerializer(serializers.ModelSerializer[ConfigurationVersion]):
    author = serializers.CharField(source="author_name")
    document = Anything()

    class Meta:
        model = ConfigurationVersion
        fields = (
            *("number", "document", "note", "author", "saved_at", "restored_number"),
        )
        read_only_fields = fields


class DifferenceSerializer(serializers.Serializer[Any]):
    """A key that two documents say differently."""

    key = serializers.CharField()
    before = Value()
    after = Value()
    was_said = serializers.BooleanField(
        help_text="Null that was said leaves the key to the device."
    )
    is_said = serializers.BooleanField()


class DifferencesSerializer(serializers.Serializer[Any]):
    first = serializers.IntegerField()
    second = serializers.IntegerField()
    differences = DifferenceSerializer(many=True)


class DifferenceQuestionSerializer(Strict):
    first = serializers.IntegerField(min_value=1, max_value=2_147_483_647)
    second = serializers.IntegerField(min_value=1, max_value=2_147_483_647)


class ChangingSerializer(serializers.Serializer[Any]):
    device_id = serializers.UUIDField()
    name = serializers.CharField()
    changes = DifferenceSerializer(many=True)


class PreviewSerializer(serializers.Serializer[Any]):
    """What a save would do."""

    looked_at = serializers.IntegerField(help_text="Devices for which the layer is.")
    changing = serializers.IntegerField(help_text="Devices that would change.")
    complete = serializers.BooleanField(
        help_text="False: so many layers come together that it is at least this."
    )
    keys = serializers.DictField(
        child=serializers.IntegerField(), help_text="Devices that change, by key."
    )
    devices = ChangingSerializer(many=True)
    next_after = serializers.UUIDField(
        allow_null=True, help_text="For `after`, if there are more devices."
    )


class SourceSerializer(serializers.Serializer[Any]):
    """The layer that has set a key."""

    scope = serializers.ChoiceField(choices=Scope.choices)
    label = serializers.CharField()  # type: ignore[assignment] # its name in JSON
    configuration_id = serializers.UUIDField(allow_null=True)
    number = serializers.IntegerField()


class LayerOfDeviceSerializer(serializers.Serializer[Any]):
    source = SourceSerializer()  # type: ignore[assignment] # its name in JSON
    document = Anything()


class ScreenSerializer(serializers.Serializer[Any]):
    is_on = serializers.BooleanField()
    until = serializers.DateTimeField(allow_null=True)


class ReportSerializer(serializers.ModelSerializer[ReportedConfiguration]):
    """What a device last said."""

    applied_version = serializers.CharField(
        allow_blank=True, help_text="The last one that it said it has applied."
    )
    document = Anything(
        allow_null=True, help_text="What it has in fact, where that is something else."
    )

    class Meta:
        model = ReportedConfiguration
        fields = (
            *("version", "outcome", "reason", "failed_keys", "document"),
            *("applied_version", "reported_at"),
        )
        read_only_fields = fields


class DeviceConfigurationSerializer(serializers.Serializer[Any]):
    """What a device should have, why, and what it has."""

    device_id = serializers.UUIDField()
    version = serializers.CharField(help_text="What it is told to have.")
    working_out = serializers.BooleanField(
        help_text="A layer was changed, and the device is not told yet."
    )
    configuration = Anything()
    sources = serializers.DictField(child=SourceSerializer())
    layers = LayerOfDeviceSerializer(many=True)
    reported = ReportSerializer(allow_null=True)
    waiting_since = serializers.DateTimeField(
        allow_null=True, help_text="Since when it has not what it should have."
    )
    differences = DifferenceSerializer(
        many=True, help_text="From what it has to what it should have."
    )
    screen = ScreenSerializer(
        allow_null=True, help_text="By its schedule, if it has one and a time zone."
    )


class MyConfigurationSerializer(serializers.Serializer[Any]):
    version = serializers.CharField(help_text="Also the `ETag`.")
    configuration = Anything()


class ReportFields(Strict):
    """What the device has made of the version that it was given."""

    version = Text(max_length=64, pattern=VERSION)
    outcome = serializers.ChoiceField(choices=ReportedConfiguration.Outcome.choices)
    reason = Text(max_length=500, required=False, allow_blank=True)
    failed_keys = serializers.ListField(
        child=Text(max_length=80), max_length=200, required=False
    )
    document = Anything(
        required=False,
        allow_null=True,
        help_text="What it has in fact, if that is something else.",
    )
