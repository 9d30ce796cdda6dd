"""Serializers of rollouts."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import StrictBooleanField, StrictCharField, StrictIntegerField
from core.rest.strict import StrictSerializer
from core.rest.weekly_times import WeeklyTimeFields
from devices.registry.api.filters import DeviceFilterField
from devices.updates.models import Deployment, DeploymentWave, Status
from devices.updates.services.rollout_decision import waits_for
from devices.updates.services.rollout_settings import LIMITS as TERMS
from devices.updates.services.rollout_settings import MAX_WAVES
from devices.updates.services.targets import WaveSize
from devices.updates.update_windows import MAX_WINDOWS


class ReasonFields(StrictSerializer):
    reason = StrictCharField(max_length=200, allow_blank=True, required=False)


class SizeFields(StrictSerializer):
    """The size of a wave, as `percent` or `count`. It includes the waves before this wave."""

    percent = serializers.FloatField(
        required=False, min_value=0, max_value=100, help_text="Percentage of the rollout's devices."
    )
    count = StrictIntegerField(
        required=False, min_value=1, max_value=10_000_000, help_text="Number of devices."
    )
    starts_at = serializers.DateTimeField(required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> WaveSize:
        return WaveSize(**super().to_internal_value(data))


class TermFields(StrictSerializer):
    """The settings of a rollout. An omitted field of a new rollout gets its default, and that
    of an existing rollout keeps its value."""

    filter = DeviceFilterField(
        required=False,
        help_text='Query parameters of `GET /devices`, or `{"all": true}` for every device that the'
        " package is for, which is also the default.",
    )
    waves = serializers.ListField(
        child=SizeFields(), min_length=1, max_length=MAX_WAVES, required=False
    )
    starts_at = serializers.DateTimeField(required=False, allow_null=True)
    windows = serializers.ListField(
        child=WeeklyTimeFields(),
        max_length=MAX_WINDOWS,
        required=False,
        help_text="Maintenance windows in which devices may be updated. Empty means at any time.",
    )
    dynamic = StrictBooleanField(
        required=False,
        help_text="Also take devices that match the filter after the start. The rollout then runs"
        " until it is aborted, or until this is set to false.",
    )
    rate = StrictIntegerField(
        required=False,
        allow_null=True,
        min_value=TERMS["rate"][0],
        max_value=TERMS["rate"][1],
        help_text="Maximum number of devices per minute; null means no limit.",
    )
    soak_minutes = StrictIntegerField(
        required=False,
        min_value=TERMS["soak_minutes"][0],
        max_value=TERMS["soak_minutes"][1],
        help_text="Minutes that a device must run the new version without a new alert before"
        " the update counts as successful.",
    )
    deadline_minutes = StrictIntegerField(
        required=False,
        min_value=TERMS["deadline_minutes"][0],
        max_value=TERMS["deadline_minutes"][1],
        help_text="The update fails if a device that is installing it does not report for this"
        " many minutes.",
    )
    success_percent = serializers.FloatField(
        required=False,
        min_value=0,
        max_value=100,
        help_text="Percentage of a wave's devices that must succeed before the next wave"
        " starts. Unreachable devices that have not started do not count.",
    )
    failure_percent = serializers.FloatField(
        required=False,
        min_value=0,
        max_value=100,
        help_text="The rollout pauses when the 95 % confidence interval of the failure rate is"
        " above this percentage.",
    )

    def validate_windows(self, value: list[Any]) -> list[dict[str, Any]]:
        return [dict(window) for window in value]


class RolloutChanges(TermFields):
    name = StrictCharField(max_length=120, required=False)


class RolloutFields(RolloutChanges):
    package = serializers.UUIDField()
    dry_run = StrictBooleanField(
        required=False, help_text="Return the devices of the rollout without creating it."
    )


class NamedSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    version = serializers.CharField()


class PlannedWaveSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    devices = serializers.IntegerField(
        help_text="Number of devices in this wave, without the waves before it."
    )
    first = NamedSerializer(many=True, help_text="Some devices of this wave.")


class PlanSerializer(serializers.Serializer[Any]):
    """The devices that a rollout would reach now."""

    found = serializers.IntegerField(help_text="Devices that match the filter.")
    eligible = serializers.IntegerField(help_text="Devices that would be updated.")
    online = serializers.IntegerField(help_text="Eligible devices that are online.")
    left_out = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Number of excluded devices by reason: `model`, `android_version`, `abi`,"
        " `minimum_version`, `up_to_date` or `newer`.",
    )
    waves = PlannedWaveSerializer(many=True)


class WaveSerializer(serializers.Serializer[Any]):
    """A wave. `counts` has the number of devices of the wave in each status.

    `counts.unreached` is the number of pending devices that are offline or quarantined.
    `counts.away` is the number of devices that installed the version and are offline or
    quarantined in their soak time.
    """

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
    """A rollout.

    A rollback has no package, so `package` is null. `rolls_back` is null for all other
    rollouts.
    """

    id = serializers.UUIDField()
    name = serializers.CharField()
    product = serializers.CharField(source="product.name")
    package = serializers.UUIDField(source="package_id", allow_null=True)
    version = serializers.CharField(source="package.version", allow_null=True, default=None)
    rolls_back = serializers.UUIDField(source="rolls_back_id", allow_null=True)
    state = serializers.ChoiceField(choices=Deployment.State.choices)
    filter = serializers.DictField(child=serializers.CharField())
    starts_at = serializers.DateTimeField(allow_null=True)
    windows = serializers.ListField(child=serializers.DictField())
    dynamic = serializers.BooleanField()
    rate = serializers.IntegerField(allow_null=True)
    soak_minutes = serializers.IntegerField()
    deadline_minutes = serializers.IntegerField()
    success_percent = serializers.FloatField()
    failure_percent = serializers.FloatField()
    counted = serializers.IntegerField(help_text="Devices of the rollout.")
    opened = serializers.IntegerField(help_text="Devices that were offered the update.")
    created_by = serializers.EmailField(source="created_by.email")
    created_at = serializers.DateTimeField()
    requested_by = serializers.EmailField(
        source="requested_by.email", allow_null=True, default=None
    )
    approved_by = serializers.EmailField(source="approved_by.email", allow_null=True, default=None)
    begun_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    paused_because = serializers.CharField()


class RolloutDetailSerializer(RolloutSerializer):
    waves = WaveSerializer(many=True, source="waves.all")
    waits_for = serializers.SerializerMethodField(
        help_text="What the running wave waits for, as a sentence; empty if nothing."
    )

    def get_waits_for(self, rollout: Deployment) -> str:
        running = rollout.waves.filter(state=DeploymentWave.State.RUNNING).first()
        if running is None:
            return ""
        return waits_for(running, success_percent=rollout.success_percent, now=self.context["now"])


class DeviceUpdateSerializer(serializers.Serializer[Any]):
    """A device in a rollout."""

    device = serializers.UUIDField(source="device_id")
    device_name = serializers.CharField(source="device.name")
    rollout = serializers.UUIDField(source="deployment_id")
    rollout_name = serializers.CharField(source="deployment.name")
    wave = serializers.IntegerField(source="wave.number")
    status = serializers.ChoiceField(choices=Status.choices)
    progress = serializers.IntegerField(help_text="Percent of the download or of the installation.")
    version = serializers.CharField(help_text="Target version.")
    from_version = serializers.CharField(help_text="Version before the update.")
    attempt = serializers.IntegerField()
    error_code = serializers.CharField()
    error = serializers.CharField()
    opened_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    heard_at = serializers.DateTimeField(allow_null=True)
    installed_at = serializers.DateTimeField(
        allow_null=True, help_text="When the device was first online with the target version."
    )
    ended_at = serializers.DateTimeField(allow_null=True)


class FailureSerializer(serializers.Serializer[Any]):
    error_code = serializers.CharField()
    devices = serializers.IntegerField()
    example = serializers.CharField(help_text="Error message of one of these devices.")


class FailuresSerializer(serializers.Serializer[Any]):
    results = FailureSerializer(many=True, help_text="The most frequent first.")
