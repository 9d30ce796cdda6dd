"""Serializers of products, packages, signing keys and the update policy."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from core.rest.fields import StrictBooleanField, StrictCharField, StrictIntegerField
from core.rest.strict import StrictSerializer
from devices.updates.models import SoftwareProduct, SoftwareUpdate
from devices.updates.services.packages import MAX_CHANGELOG_LENGTH, MAX_TARGET_MODELS
from devices.updates.services.policies import LIMITS
from devices.updates.versions import CHOICES, MAX_VERSION_LENGTH

HEX = "[0-9A-Fa-f]{64}"


class ProductFields(StrictSerializer):
    name = StrictCharField(max_length=64)
    versioning = serializers.ChoiceField(choices=CHOICES, required=False)
    reports = serializers.ChoiceField(
        choices=SoftwareProduct.Reports.choices,
        required=False,
        help_text="The field in which devices report the installed version of this product.",
    )
    file_format = serializers.ChoiceField(
        choices=SoftwareProduct.FileFormat.choices,
        required=False,
        help_text="Which files the packages may have. A product that has a released Android"
        " package accepts Android packages only.",
    )


class ProductName(StrictSerializer):
    name = StrictCharField(max_length=64, required=False)


class ProductSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    versioning = serializers.ChoiceField(choices=CHOICES)
    reports = serializers.ChoiceField(choices=SoftwareProduct.Reports.choices)
    file_format = serializers.ChoiceField(choices=SoftwareProduct.FileFormat.choices)
    created_at = serializers.DateTimeField()


class PackageChanges(StrictSerializer):
    """The fields of a draft that can be changed."""

    changelog = serializers.CharField(
        max_length=MAX_CHANGELOG_LENGTH, allow_blank=True, required=False
    )
    platform = serializers.ChoiceField(choices=SoftwareUpdate.Platform.choices, required=False)
    target_models = serializers.ListField(
        child=StrictCharField(max_length=64),
        max_length=MAX_TARGET_MODELS,
        required=False,
        help_text="Device models that the package is for. Empty means all models.",
    )
    minimum_version = StrictCharField(
        max_length=MAX_VERSION_LENGTH,
        allow_blank=True,
        required=False,
        help_text="Oldest version from which a device can be updated. Blank means any.",
    )


class PackageFields(PackageChanges):
    """The fields of a new draft. The file is uploaded separately."""

    product = StrictCharField(max_length=64, help_text="Name of the product.")
    version = StrictCharField(max_length=MAX_VERSION_LENGTH)


class ApkSerializer(serializers.Serializer[Any]):
    """Values from the manifest of an Android package."""

    application_id = serializers.CharField()
    version_name = serializers.CharField(allow_null=True)
    version_code = serializers.IntegerField(allow_null=True)
    minimum_sdk = serializers.IntegerField(allow_null=True)
    target_sdk = serializers.IntegerField(allow_null=True)
    application_label = serializers.CharField(
        allow_null=True, default=None, help_text="Name of the app in its default language."
    )
    signers = serializers.ListField(
        child=serializers.CharField(),
        allow_null=True,
        default=None,
        help_text="SHA-256 fingerprints of the signers' certificates (signature scheme v2 or"
        " v3). Empty if the file is not signed; null if this is not known.",
    )
    abis = serializers.ListField(
        child=serializers.CharField(),
        default=list,
        help_text="ABIs of the native libraries. Empty if the file has none.",
    )


@extend_schema_serializer(component_name="UpdatePackage")
class PackageSerializer(serializers.Serializer[Any]):
    """A package. `size` and `apk` are null until the file is uploaded."""

    id = serializers.UUIDField()
    product = serializers.CharField(source="product.name")
    version = serializers.CharField()
    changelog = serializers.CharField()
    platform = serializers.ChoiceField(choices=SoftwareUpdate.Platform.choices)
    target_models = serializers.ListField(child=serializers.CharField())
    minimum_version = serializers.CharField()
    state = serializers.ChoiceField(choices=SoftwareUpdate.State.choices)
    size = serializers.IntegerField(allow_null=True, help_text="Bytes.")
    sha256 = serializers.CharField(help_text="Hexadecimal.")
    signature = serializers.CharField(
        help_text="JWS in compact form (RFC 7515), signed with the tenant's update signing key."
    )
    apk = ApkSerializer(allow_null=True)
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    uploaded_at = serializers.DateTimeField(allow_null=True)
    released_at = serializers.DateTimeField(allow_null=True)
    withdrawn_at = serializers.DateTimeField(allow_null=True)
    withdrawn_because = serializers.CharField()


class ReleaseFields(StrictSerializer):
    sha256 = StrictCharField(
        pattern=HEX,
        required=False,
        help_text="SHA-256 of the file you have checked. If the file has another hash,"
        " the package is not released.",
    )

    confirm_signer = StrictBooleanField(
        required=False,
        help_text="Confirms that the file has another signer than the product's released"
        " packages, or none. Otherwise the response is 409 `signer_not_confirmed`.",
    )


class WithdrawFields(StrictSerializer):
    reason = StrictCharField(max_length=500)


class UpdatePolicyFields(StrictSerializer):
    approval_above = StrictIntegerField(
        min_value=LIMITS["approval_above"][0],
        max_value=LIMITS["approval_above"][1],
        required=False,
        help_text="Rollouts to more devices than this need the approval of a second member.",
    )
    concurrent_downloads = StrictIntegerField(
        min_value=LIMITS["concurrent_downloads"][0],
        max_value=LIMITS["concurrent_downloads"][1],
        required=False,
        help_text="How many devices may download at the same time.",
    )


class UpdatePolicySerializer(serializers.Serializer[Any]):
    approval_above = serializers.IntegerField()
    concurrent_downloads = serializers.IntegerField()


class UpdateKeysSerializer(serializers.Serializer[Any]):
    """The public key of the tenant's update signing key as a JWK set (RFC 7517).

    The list is empty until the first package is signed.
    """

    keys = serializers.ListField(child=serializers.DictField(child=serializers.CharField()))
