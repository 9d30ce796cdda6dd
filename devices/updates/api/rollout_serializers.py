"""The JSON of rollouts, in and out."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import Text, Truth, WholeNumber
from core.rest.strict import Strict
from devices.configurations.schedules import DAYS
from devices.updates.models import Deployment, DeploymentWave, Status
from devices.updates.services.rollout_decision import waits_for
from devices.updates.services.targets import Size
from devices.updates.services.terms import LIMITS as TERMS
from devices.updates.services.terms import MAX_WAVES
from devices.updates.update_windows import MAX_WINDOWS

WEEKDAYS = [(day, day) for day in DAYS]
MAX_FILTERS = 20


class ReasonFields(Strict):
    reason = Text(max_length=200, allow_blank=True, required=False)


class SizeFields(Strict):
    """How far a wave goes, together with those before it; one of both."""

    percent = serializers.FloatField(required=False, min_value=0, max_value=100)
    count = WholeNumber(required=False, min_value=1, max_value=10_000_000)
    starts_at = serializers.DateTimeField(required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> Size:
        return Size(**super().to_internal_value(data))


class WindowFields(Strict):
    """By each device's own clock; one that ends before it begins ends the next day."""

    days = serializers.ListField(
        child=serializers.ChoiceField(choices=WEEKDAYS), min_length=1, max_length=7
    )
    until = Text(pattern="([01][0-9]|2[0-3]):[0-5][0-9]")

    def get_fields(self) -> dict[str, Any]:
        clock = Text(pattern="([01][0-9]|2[0-3]):[0-5][0-9]")
        return {**super().get_fields(), "from": clock}


class TermFields(Strict):
    """The terms of a rollout; what is left out is as usual, or as it was."""

    filter = serializers.DictField(
        child=Text(max_length=120, allow_blank=True),
        required=False,
        help_text="As `GET /devices` is narrowed, and by `app_version`, `os_version` and"
        " `device` (its id); `{}` is every device.",
    )
    waves = serializers.ListField(
        child=SizeFields(), min_length=1, max_length=MAX_WAVES, required=False
    )
    starts_at = serializers.DateTimeField(required=False, allow_null=True)
    windows = serializers.ListField(
        child=WindowFields(),
        max_length=MAX_WINDOWS,
        required=False,
        help_text="When devices may be updated; none is at any time.",
    )
    rate = WholeNumber(
        required=False,
        allow_null=True,
        min_value=TERMS["rate"][0],
        max_value=TERMS["rate"][1],
        help_text="Devices a minute; null: as many as there are.",
    )
    soak_minutes = WholeNumber(
        required=False,
        min_value=TERMS["soak_minutes"][0],
        max_value=TERMS["soak_minutes"][1],
        help_text="So long a device has to be well before it has succeeded.",
    )
    deadline_minutes = WholeNumber(
        required=False,
        min_value=TERMS["deadline_minutes"][0],
        max_value=TERMS["deadline_minutes"][1],
        help_text="In which a device that installs has to be heard of.",
    )
    success_percent = serializers.FloatField(
        required=False,
        min_value=0,
        max_value=100,
        help_text="Of those that have begun; then the next wave is opened.",
    )
    failure_percent = serializers.FloatField(
        required=False,
        min_value=0,
        max_value=100,
        help_text="When it is certain that more fail, the rollout pauses.",
    )

    def validate_filter(self, said: dict[str, str]) -> dict[str, str]:
        if len(said) > MAX_FILTERS:
            raise serializers.ValidationError(f"At most {MAX_FILTERS} parameters.")
        return said

    def validate_windows(self, said: list[Any]) -> list[dict[str, Any]]:
        return [dict(each) for each in said]


class RolloutChanges(TermFields):
    name = Text(max_length=120, required=False)


class RolloutFields(RolloutChanges):
    package = serializers.UUIDField()
    dry_run = Truth(required=False, help_text="Count its devices, change nothing.")


class NamedSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    version = serializers.CharField()


class PlannedWaveSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    devices = serializers.IntegerField(help_text="That come with this wave.")
    first = NamedSerializer(many=True, help_text="Some of them.")


class PlanSerializer(serializers.Serializer[Any]):
    """What a rollout would come to."""

    found = serializers.IntegerField()
    eligible = serializers.IntegerField()
    online = serializers.IntegerField(help_text="Of the eligible.")
    left_out = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="`model`, `minimum_version`, `up_to_date`, `newer`: so many devices.",
    )
    waves = PlannedWaveSerializer(many=True)


class WaveSerializer(serializers.Serializer[Any]):
    """`counts` has its devices by status, and how many of the pending are `unreached`."""

    number = serializers.IntegerField()
    percent = serializers.FloatField(allow_null=True)
    count = serializers.IntegerField(allow_null=True)
    starts_at = serializers.DateTimeField(allow_null=True)
    state = serializers.ChoiceField(choices=DeploymentWave.State.choices)
    opened_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    counts = serializers.DictField(child=serializers.IntegerField())
    counted_at = serializers.DateTimeField(allow_null=True)


class RolloutSerializer(serializers.Serializer[Any]):
    """`package` is null of a way back, `rolls_back` of any other."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    product = serializers.CharField(source="product.name")
    package = serializers.UUIDField(source="package_id", allow_null=True)
    version = serializers.CharField(
        source="package.version", allow_null=True, default=None
    )
    rolls_back = serializers.UUIDField(source="rolls_back_id", allow_null=True)
    state = serializers.ChoiceField(choices=Deployment.State.choices)
    filter = serializers.DictField(child=serializers.CharField())
    starts_at = serializers.DateTimeField(allow_null=True)
    windows = serializers.ListField(child=serializers.DictField())
    rate = serializers.IntegerField(allow_null=True)
    soak_minutes = serializers.IntegerField()
    deadline_minutes = serializers.IntegerField()
    success_percent = serializers.FloatField()
    failure_percent = serializers.FloatField()
    counted = serializers.IntegerField(help_text="Devices that it is for.")
    opened = serializers.IntegerField(help_text="Devices that have it before them.")
    created_by = serializers.EmailField(source="created_by.email")
    created_at = serializers.DateTimeField()
    requested_by = serializers.EmailField(
        source="requested_by.email", allow_null=True, default=None
    )
    approved_by = serializers.EmailField(
        source="approved_by.email", allow_null=True, default=None
    )
    begun_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    paused_because = serializers.CharField()


class RolloutDetailSerializer(RolloutSerializer):
    waves = WaveSerializer(many=True, source="waves.all")
    waits_for = serializers.SerializerMethodField(
        help_text="What keeps the wave that runs from passing."
    )

    def get_waits_for(self, row: Deployment) -> str:
        running = row.waves.filter(state=DeploymentWave.State.RUNNING).first()
        if running is None:
            return ""
        return waits_for(
            running, success_percent=row.success_percent, now=self.context["now"]
        )


class DeviceUpdateSerializer(serializers.Serializer[Any]):
    """How far a device has come with an update."""

    device = serializers.UUIDField(source="device_id")
    device_name = serializers.CharField(source="device.name")
    rollout = serializers.UUIDField(source="deployment_id")
    rollout_name = serializers.CharField(source="deployment.name")
    wave = serializers.IntegerField(source="wave.number")
    status = serializers.ChoiceField(choices=Status.choices)
    progress = serializers.IntegerField(help_text="Percent, of this status.")
    version = serializers.CharField()
    from_version = serializers.CharField()
    attempt = serializers.IntegerField()
    error_code = serializers.CharField()
    error = serializers.CharField()
    opened_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    heard_at = serializers.DateTimeField(allow_null=True)
    installed_at = serializers.DateTimeField(
        allow_null=True, help_text="When it came back with the version."
    )
    ended_at = serializers.DateTimeField(allow_null=True)


class FailureSerializer(serializers.Serializer[Any]):
    error_code = serializers.CharField()
    devices = serializers.IntegerField()
    example = serializers.CharField(help_text="What one of them says.")


class FailuresSerializer(serializers.Serializer[Any]):
    results = FailureSerializer(many=True, help_text="The most frequent first.")
