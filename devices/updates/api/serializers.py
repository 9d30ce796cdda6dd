"""The JSON of products, packages and what a tenant wants of its updates, in and out."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import Text, WholeNumber
from core.rest.strict import Strict
from devices.updates.models import (
    SoftwareProduct,
    SoftwareUpdate,
)
from devices.updates.services.packages import MAX_CHANGELOG_LENGTH, MAX_TARGET_MODELS
from devices.updates.services.policies import LIMITS
from devices.updates.versions import CHOICES, MAX_VERSION_LENGTH

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
    name = Text(max_length=64, required=False)


class ProductSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    versioning = serializers.ChoiceField(choices=CHOICES)
    reports = serializers.ChoiceField(choices=SoftwareProduct.Reports.choices)
    created_at = serializers.DateTimeField()


class PackageChanges(Strict):
    """What may be said otherwise of a draft."""

    changelog = serializers.CharField(
        max_length=MAX_CHANGELOG_LENGTH, allow_blank=True, required=False
    )
    platform = serializers.ChoiceField(
        choices=SoftwareUpdate.Platform.choices, required=False
    )
    target_models = serializers.ListField(
        child=Text(max_length=64),
        max_length=MAX_TARGET_MODELS,
        required=False,
        help_text="Of devices that it is for; none is all of them.",
    )
    minimum_version = Text(
        max_length=MAX_VERSION_LENGTH,
        allow_blank=True,
        required=False,
        help_text="That a device has to have at least.",
    )


class PackageFields(PackageChanges):
    """A draft of a version; its file comes by itself."""

    product = Text(max_length=64, help_text="By its name.")
    version = Text(max_length=MAX_VERSION_LENGTH)


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


class ReleaseFields(Strict):
    sha256 = Text(
        pattern=HEX,
        required=False,
        help_text="Of the file that was looked at: another one is not released.",
    )


class WithdrawFields(Strict):
    reason = Text(max_length=500)


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
