"""The JSON of a device's own updates, in and out."""

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.rest.fields import Text, WholeNumber
from core.rest.strict import Strict
from devices.updates.models import SoftwareUpdate, Status
from devices.updates.services.feedback import MAX_ERROR_LENGTH, STATUSES
from devices.updates.services.offers import Offer

FEEDBACK = [(word, word) for word in STATUSES]
MAX_ATTEMPT = 32_767


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
    order = serializers.CharField(
        help_text="The same for this device alone, for an hour: JWS (RFC 7515)."
    )
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

    @extend_schema_field(OfferedFileSerializer(allow_null=True))
    def get_package(self, offer: Offer) -> dict[str, Any] | None:
        package = offer.status.package
        if package is None:
            return None
        told = {
            **{name: getattr(package, name) for name in ("id", "size", "sha256")},
            "signature": package.signature,
            "platform": package.platform,
            "url": f"{self.context['base']}/updates/packages/{package.pk}/file",
        }
        return dict(OfferedFileSerializer(told).data)


class FeedbackFields(Strict):
    """What a device says of its update; said twice is said once."""

    attempt = WholeNumber(min_value=1, max_value=MAX_ATTEMPT)
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
        max_length=MAX_ERROR_LENGTH,
        allow_blank=True,
        required=False,
        help_text="With `failed`: a sentence.",
    )
