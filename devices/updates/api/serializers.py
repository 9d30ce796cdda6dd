"""The JSON of software updates, in and out."""

from datetime import datetime
from typing import Any

from rest_framework import serializers

from devices.configurations.schedules import DAYS
from devices.updates import gate
from devices.updates.feedback import LONGEST_REASON, WORDS
from devices.updates.models import (
    Deployment,
    DeploymentWave,
    SoftwareProduct,
    SoftwareUpdate,
    Status,
)
from devices.updates.offers import Offer
from devices.updates.packages import LONGEST_CHANGELOG, MOST_MODELS
from devices.updates.policies import LIMITS
from devices.updates.targets import Size
from devices.updates.terms import LIMITS as TERMS
from devices.updates.terms import MOST_WAVES
from devices.updates.versions import CHOICES, LONGEST
from devices.updates.windows import MOST as MOST_WINDOWS
from provisioning.rest.fields import Text, Truth, WholeNumber
from provisioning.rest.strict import Strict

FEEDBACK = [(word, word) for word in WORDS]
WEEKDAYS = [(day, day) for day in DAYS]
MOST_FILTERS = 20
MOST_ATTEMPTS = 32_767
HEX = "[0-9A-Fa-f]{64}"


class ProductFields(Strict):
    name = Text(max_length=64)
    versioning = serializers.ChoiceField(choices=CHOICES, required=False)
    reports = serializers.ChoiceField(
        choices=SoftwareProduct.Reports.choices,
        required=False,
        help_text="Which of the versions that a device reports is this product's.",
    )


class ProductName(Strict):
    name = Text(max_length=64)


class ProductSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    versioning = serializers.ChoiceField(choices=CHOICES)
    reports = serializers.ChoiceField(choices=SoftwareProduct.Reports.choices)
    created_at = serializers.DateTimeField()


class PackageChanges(Strict):
    """What may be said otherwise of a draft."""

    changelog = serializers.CharField(
        max_length=LONGEST_CHANGELOG, allow_blank=True, required=False
    )
    platform = serializers.ChoiceField(
        choices=SoftwareUpdate.Platform.choices, required=False
    )
    target_models = serializers.ListField(
        child=Text(max_length=64),
        max_length=MOST_MODELS,
        required=False,
        help_text="Of devices that it is for; none is all of them.",
    )
    minimum_version = Text(
        max_length=LONGEST,
        allow_blank=True,
        required=False,
        help_text="That a device has to have at least.",
    )


class PackageFields(PackageChanges):
    """A draft of a version; its file comes by itself."""

    product = Text(max_length=64, help_text="By its name.")
    version = Text(max_length=LONGEST)


class ApkSerializer(serializers.Serializer[Any]):
    """What an Android package says of itself."""

    application_id = serializers.CharField()
    version_name = serializers.CharField(allow_null=True)
    version_code = serializers.IntegerField(allow_null=True)
    minimum_sdk = serializers.IntegerField(allow_null=True)
    target_sdk = serializers.IntegerField(allow_null=True)


class PackageSerializer(serializers.Serializer[Any]):
    """`size` and what follows from the file are null until it is there."""

    id = serializers.UUIDField()
    product = serializers.CharField(source="product.name")
    version = serializers.CharField()
    changelog = serializers.CharField()
    platform = serializers.ChoiceField(choices=SoftwareUpdate.Platform.choices)
    target_models = serializers.ListField(child=serializers.CharField())
    minimum_version = serializers.CharField()
    state = serializers.ChoiceField(choices=SoftwareUpdate.State.choices)
    size = serializers.IntegerField(allow_null=True, help_text="bytes")
    sha256 = serializers.CharField(help_text="Hexadecimal.")
    signature = serializers.CharField(
        help_text="JWS in compact form (RFC 7515), by the tenant's update key."
    )
    apk = ApkSerializer(allow_null=True)
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    uploaded_at = serializers.DateTimeField(allow_null=True)
    released_at = serializers.DateTimeField(allow_null=True)
    withdrawn_at = serializers.DateTimeField(allow_null=True)
    withdrawn_because = serializers.CharField()


class ReasonFields(Strict):
    reason = Text(max_length=200, allow_blank=True, required=False)


class WithdrawFields(Strict):
    reason = Text(max_length=500)


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
        child=SizeFields(), min_length=1, max_length=MOST_WAVES, required=False
    )
    starts_at = serializers.DateTimeField(required=False, allow_null=True)
    windows = serializers.ListField(
        child=WindowFields(),
        max_length=MOST_WINDOWS,
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
        if len(said) > MOST_FILTERS:
            raise serializers.ValidationError(f"At most {MOST_FILTERS} parameters.")
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
        return gate.waits_for(row, running) if running else ""


class StatusSerializer(serializers.Serializer[Any]):
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


class UpdatePolicyFields(Strict):
    approval_above = WholeNumber(
        min_value=LIMITS["approval_above"][0],
        max_value=LIMITS["approval_above"][1],
        required=False,
        help_text="A rollout to more devices wants a second person.",
    )
    concurrent_downloads = WholeNumber(
        min_value=LIMITS["concurrent_downloads"][0],
        max_value=LIMITS["concurrent_downloads"][1],
        required=False,
        help_text="So many devices download at a time.",
    )


class UpdatePolicySerializer(serializers.Serializer[Any]):
    approval_above = serializers.IntegerField()
    concurrent_downloads = serializers.IntegerField()


class UpdateKeysSerializer(serializers.Serializer[Any]):
    """The key that signs the tenant's packages (RFC 7517); none before the first one."""

    keys = serializers.ListField(
        child=serializers.DictField(child=serializers.CharField())
    )


class OfferedFileSerializer(serializers.Serializer[Any]):
    """A package as its device gets it; what counts is what is signed."""

    id = serializers.UUIDField()
    url = serializers.CharField()
    size = serializers.IntegerField(help_text="bytes")
    sha256 = serializers.CharField(help_text="Hexadecimal.")
    signature = serializers.CharField(help_text="JWS in compact form (RFC 7515).")
    platform = serializers.ChoiceField(choices=SoftwareUpdate.Platform.choices)


class OfferSerializer(serializers.Serializer[Any]):
    """What a device is to install. `rollback`: go back to it, if need be by itself."""

    rollout = serializers.UUIDField(source="status.deployment_id")
    attempt = serializers.IntegerField(source="status.attempt")
    product = serializers.CharField(source="status.deployment.product.name")
    version = serializers.CharField(source="status.version")
    rollback = serializers.SerializerMethodField()
    status = serializers.ChoiceField(source="status.status", choices=Status.choices)
    not_before = serializers.DateTimeField(
        allow_null=True, help_text="When its maintenance window opens; null: it is."
    )
    window_ends = serializers.SerializerMethodField()
    package = serializers.SerializerMethodField()

    def get_rollback(self, offer: Offer) -> bool:
        return offer.status.deployment.rolls_back_id is not None

    def get_window_ends(self, offer: Offer) -> datetime | None:
        return offer.window.until if offer.window.is_open else None

    def get_package(self, offer: Offer) -> OfferedFileSerializer | None:
        package = offer.status.package
        if package is None:
            return None
        told = {
            **{name: getattr(package, name) for name in ("id", "size", "sha256")},
            "signature": package.signature,
            "platform": package.platform,
            "url": f"{self.context['base']}/updates/packages/{package.pk}/file",
        }
        return OfferedFileSerializer(told).data  # type: ignore[return-value]


class FeedbackFields(Strict):
    """What a device says of its update; said twice is said once."""

    attempt = WholeNumber(min_value=1, max_value=MOST_ATTEMPTS)
    status = serializers.ChoiceField(choices=FEEDBACK)
    progress = WholeNumber(
        min_value=0,
        max_value=100,
        required=False,
        help_text="Percent, of downloading or of installing.",
    )
    error_code = Text(
        max_length=64,
        pattern="[a-z0-9_.-]*",
        allow_blank=True,
        required=False,
        help_text="With `failed`: by which failures are grouped.",
    )
    error = Text(
        max_length=LONGEST_REASON,
        allow_blank=True,
        required=False,
        help_text="With `failed`: a sentence.",
    )
