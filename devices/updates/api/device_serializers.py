"""Serializers of the updates of the calling device."""

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.rest.fields import CodeField, StrictCharField, StrictIntegerField
from core.rest.tolerant import TolerantSerializer
from devices.updates.models import SoftwareUpdate, Status
from devices.updates.services.feedback import MAX_ERROR_LENGTH, STATUSES
from devices.updates.services.offers import Offer

FEEDBACK = [(status, status) for status in STATUSES]
MAX_ATTEMPT = 32_767


class OfferedFileSerializer(serializers.Serializer[Any]):
    """The package of an offer. Devices verify the signature before they install the package."""

    id = serializers.UUIDField()
    url = serializers.CharField()
    size = serializers.IntegerField(help_text="bytes")
    sha256 = serializers.CharField(help_text="Hexadecimal.")
    signature = serializers.CharField(help_text="JWS in compact form (RFC 7515).")
    platform = serializers.ChoiceField(choices=SoftwareUpdate.Platform.choices)


class OfferSerializer(serializers.Serializer[Any]):
    """The update that a device should install.

    If `rollback` is true, the device returns to an earlier version. `package` is null if
    the server has no package of the earlier version. The device must then use a copy of
    the package that it has kept.
    """

    rollout = serializers.UUIDField(source="status.deployment_id")
    attempt = serializers.IntegerField(source="status.attempt")
    product = serializers.CharField(source="status.deployment.product.name")
    version = serializers.CharField(source="status.version")
    rollback = serializers.SerializerMethodField()
    order = serializers.CharField(
        help_text="Signed instruction to this device to install the update: a JWS in compact"
        " form (RFC 7515), valid for one hour."
    )
    status = serializers.ChoiceField(source="status.status", choices=Status.choices)
    not_before = serializers.DateTimeField(
        allow_null=True,
        help_text="When the next maintenance window opens; null if one is open now.",
    )
    window_ends = serializers.SerializerMethodField()
    package = serializers.SerializerMethodField()

    def get_rollback(self, offer: Offer) -> bool:
        return offer.status.deployment.rolls_back_id is not None

    def get_window_ends(self, offer: Offer) -> datetime | None:
        return offer.window.until if offer.window.is_on else None

    @extend_schema_field(OfferedFileSerializer(allow_null=True))
    def get_package(self, offer: Offer) -> dict[str, Any] | None:
        package = offer.status.package
        if package is None:
            return None
        fields = {
            **{name: getattr(package, name) for name in ("id", "size", "sha256")},
            "signature": offer.signature,
            "platform": package.platform,
            "url": f"{self.context['base']}/updates/packages/{package.pk}/file",
        }
        return dict(OfferedFileSerializer(fields).data)


class FeedbackFields(TolerantSerializer):
    """The progress report of a device."""

    attempt = StrictIntegerField(
        min_value=1,
        max_value=MAX_ATTEMPT,
        required=False,
        help_text="From the offer. If it is missing, the report counts for the current attempt.",
    )
    status = serializers.ChoiceField(choices=FEEDBACK)
    progress = StrictIntegerField(
        min_value=0,
        max_value=100,
        required=False,
        help_text="Percent of the download or of the installation.",
    )
    error_code = CodeField(
        max_length=64,
        allow_blank=True,
        required=False,
        help_text="For `failed`: the code by which failures are grouped, for example `no_space`.",
    )
    error = StrictCharField(
        max_length=MAX_ERROR_LENGTH,
        allow_blank=True,
        required=False,
        help_text="For `failed`: a message for members.",
    )
