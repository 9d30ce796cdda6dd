"""Serializers of the configuration API."""

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from core.rest.documentation import COMPONENT
from core.rest.fields import JSONValueField, StrictCharField, StrictIntegerField
from core.rest.strict import StrictSerializer
from core.rest.tolerant import TolerantSerializer
from devices.configurations.document_validation import SCHEMA
from devices.configurations.models import ConfigurationVersion, ReportedConfiguration, Scope
from devices.configurations.services.layers import MAX_NOTE_LENGTH
from devices.configurations.services.preview import MAX_LISTED

VERSION_PATTERN = r"[0-9a-f]{64}"
BASED_ON_HELP = (
    "The number of the version that the change is based on; 0 if the layer has no "
    "version. If the layer now has another version, the response is 409."
)
SCOPES = [choice for choice in Scope.choices if choice[0] != Scope.PLATFORM]


@extend_schema_field(
    {COMPONENT: "ConfigurationDocument"}
    | {name: value for name, value in SCHEMA.items() if not name.startswith("$")}
)
class DocumentField(serializers.JSONField):
    """A layer's document. The service validates it against the published schema."""


@extend_schema_field({"type": "object", "additionalProperties": True})
class JSONObjectField(serializers.JSONField):
    """A JSON object with any keys."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            self.fail("invalid")
        return data


class SubjectFields(StrictSerializer):
    """The devices that a layer applies to."""

    scope = serializers.ChoiceField(choices=SCOPES)
    tag = StrictCharField(
        max_length=64,
        required=False,
        help_text="The name of the tag. Required with the scope `tag`.",
    )
    device = serializers.UUIDField(
        required=False, help_text="The id of the device. Required with the scope `device`."
    )
    site = StrictCharField(
        max_length=120,
        required=False,
        help_text="The name or id of the site. Required with the scope `site`.",
    )


class ConfigurationFields(SubjectFields):
    document = DocumentField()
    note = StrictCharField(max_length=MAX_NOTE_LENGTH, required=False, allow_blank=True)
    based_on = StrictIntegerField(
        min_value=0, max_value=2_147_483_647, required=False, help_text=BASED_ON_HELP
    )


class NewVersionFields(StrictSerializer):
    document = DocumentField()
    note = StrictCharField(max_length=MAX_NOTE_LENGTH, required=False, allow_blank=True)
    based_on = StrictIntegerField(
        min_value=0, max_value=2_147_483_647, required=False, help_text=BASED_ON_HELP
    )


class RestoreFields(StrictSerializer):
    based_on = StrictIntegerField(
        min_value=0, max_value=2_147_483_647, required=False, help_text=BASED_ON_HELP
    )


class PreviewFields(SubjectFields):
    document = DocumentField()
    after = serializers.UUIDField(
        required=False, help_text="The id of a device. The list continues after this device."
    )
    limit = StrictIntegerField(
        min_value=1,
        max_value=5 * MAX_LISTED,
        required=False,
        help_text="The maximum number of listed devices.",
    )


class OrderFields(StrictSerializer):
    tags = serializers.ListField(
        child=StrictCharField(max_length=64),
        max_length=10_000,
        help_text="All tags that have a configuration, from the weakest to the strongest.",
    )


class LayerSerializer(serializers.Serializer[Any]):
    """The current version of a layer. The platform's layer has no id."""

    id = serializers.UUIDField(allow_null=True)
    scope = serializers.ChoiceField(choices=Scope.choices)
    tag = serializers.CharField(source="tag.name", allow_null=True, default=None)
    device = serializers.UUIDField(source="device_id", allow_null=True, default=None)
    site = serializers.UUIDField(source="site_id", allow_null=True, default=None)
    rank = serializers.IntegerField(allow_null=True, default=None)
    number = serializers.IntegerField(
        help_text="The number of the version, 0 if the layer was never saved."
    )
    document = JSONObjectField()
    updated_at = serializers.DateTimeField(allow_null=True)


@extend_schema_serializer(component_name="StoredConfiguration")
class ConfigurationSerializer(LayerSerializer):
    """A tenant's layer."""

    id = serializers.UUIDField()


class VersionSerializer(serializers.ModelSerializer[ConfigurationVersion]):
    author = serializers.CharField(source="author_name")
    document = JSONObjectField()

    class Meta:
        model = ConfigurationVersion
        fields = ("number", "document", "note", "author", "saved_at", "restored_number")
        read_only_fields = fields


class DifferenceSerializer(serializers.Serializer[Any]):
    """A key with different values in two documents."""

    key = serializers.CharField()
    before = JSONValueField()
    after = JSONValueField()
    was_set = serializers.BooleanField(
        help_text=(
            "True if the first document contains the key. A key with the value null is "
            "left to the device."
        )
    )
    is_set = serializers.BooleanField(help_text="True if the second document contains the key.")


@extend_schema_serializer(component_name="VersionDifferences")
class DifferencesSerializer(serializers.Serializer[Any]):
    first = serializers.IntegerField()
    second = serializers.IntegerField()
    differences = DifferenceSerializer(many=True)


class DifferenceQuerySerializer(StrictSerializer):
    first = serializers.IntegerField(min_value=1, max_value=2_147_483_647)
    second = serializers.IntegerField(min_value=1, max_value=2_147_483_647)


class ChangingSerializer(serializers.Serializer[Any]):
    device_id = serializers.UUIDField()
    name = serializers.CharField()
    changes = DifferenceSerializer(many=True)


class PreviewSerializer(serializers.Serializer[Any]):
    """The devices and keys that would change if a document were saved."""

    looked_at = serializers.IntegerField(help_text="Number of devices that the layer applies to.")
    changing = serializers.IntegerField(help_text="Number of devices that would change.")
    complete = serializers.BooleanField(
        help_text=(
            "False if there are too many combinations of layers to examine. The "
            "numbers are then lower bounds."
        )
    )
    keys = serializers.DictField(
        child=serializers.IntegerField(), help_text="Number of devices that would change, by key."
    )
    devices = ChangingSerializer(many=True)
    next_after = serializers.UUIDField(
        allow_null=True, help_text="Send this id as `after` to get more devices. Null at the end."
    )


class SourceSerializer(serializers.Serializer[Any]):
    """The layer that set a key."""

    scope = serializers.ChoiceField(choices=Scope.choices)
    label: Any = serializers.CharField()
    configuration_id = serializers.UUIDField(allow_null=True)
    number = serializers.IntegerField()


class LayerOfDeviceSerializer(serializers.Serializer[Any]):
    source: Any = SourceSerializer()
    document = JSONObjectField()


class ScreenSerializer(serializers.Serializer[Any]):
    is_on = serializers.BooleanField()
    until = serializers.DateTimeField(allow_null=True)


class ReportSerializer(serializers.ModelSerializer[ReportedConfiguration]):
    """The last report of a device."""

    applied_version = serializers.CharField(
        allow_blank=True, help_text="The last version that was applied. Empty if unknown."
    )
    document = JSONObjectField(
        allow_null=True, help_text="The configuration in use, if it differs from that of `version`."
    )

    class Meta:
        model = ReportedConfiguration
        fields = (
            "version",
            "outcome",
            "reason",
            "failed_keys",
            "document",
            "applied_version",
            "reported_at",
        )
        read_only_fields = fields


class DeviceConfigurationSerializer(serializers.Serializer[Any]):
    """The desired configuration of a device, the source of each key, and the last report."""

    device_id = serializers.UUIDField()
    version = serializers.CharField(help_text="The version assigned to the device.")
    working_out = serializers.BooleanField(
        help_text=(
            "True if a layer was changed and the version of the device was not "
            "recalculated yet. `configuration` is then newer than `version`."
        )
    )
    configuration = JSONObjectField()
    sources = serializers.DictField(child=SourceSerializer())
    layers = LayerOfDeviceSerializer(many=True)
    reported = ReportSerializer(allow_null=True)
    waiting_since = serializers.DateTimeField(
        allow_null=True,
        help_text=(
            "Time since which the desired configuration is not applied. Null if it is applied."
        ),
    )
    differences = DifferenceSerializer(
        many=True, help_text="Differences from the applied to the desired configuration."
    )
    screen = ScreenSerializer(
        allow_null=True,
        help_text=(
            "The state of the screen by its schedule. Null if a schedule or time zone is missing."
        ),
    )


class MyConfigurationSerializer(serializers.Serializer[Any]):
    version = serializers.CharField(help_text="Equal to the `ETag`.")
    configuration = JSONObjectField()


class ReportFields(TolerantSerializer):
    """A device's report: it has applied a version, or it gives the reason for the failure."""

    version = StrictCharField(max_length=64, pattern=VERSION_PATTERN)
    outcome = serializers.ChoiceField(choices=ReportedConfiguration.Outcome.choices)
    reason = StrictCharField(max_length=500, required=False, allow_blank=True)
    failed_keys = serializers.ListField(
        child=StrictCharField(max_length=80), max_length=200, required=False
    )
    document = JSONObjectField(
        required=False,
        allow_null=True,
        help_text="The configuration in use, if it differs from that of `version`.",
    )
