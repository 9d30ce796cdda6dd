"""The JSON of certificates, in and out."""

from typing import Any

from rest_framework import serializers

from certificates.models import DeviceCertificate
from certificates.pki.bundles import FORMS
from certificates.pki.csr import LONGEST
from certificates.pki.keys import KEY_TYPES
from certificates.services import authorities
from core.rest.fields import PEM, Text
from core.rest.strict import Strict
from devices.registry.api.serializers import BoxSerializer, DeviceSerializer


class CertificateSerializer(serializers.ModelSerializer[DeviceCertificate]):
    """A certificate and its record; never a private key."""

    device_id = serializers.UUIDField(read_only=True)
    certificate = serializers.CharField(source="pem", help_text="PEM")
    revocation_reason = serializers.CharField(
        read_only=True, help_text="Empty unless it is revoked."
    )
    replaces = serializers.CharField(
        source="replaces.serial_number", default=None, allow_null=True
    )

    class Meta:
        model = DeviceCertificate
        fields: tuple[str, ...] = (
            *("serial_number", "device_id", "status", "fingerprint", "key_source"),
            *("not_before", "not_after", "issued_at", "warned_at"),
            *("confirmed_at", "handover_until", "key_delivered_at"),
            *("revoked_at", "revocation_reason", "replaces", "certificate"),
        )
        read_only_fields: tuple[str, ...] = fields


class CertificateWithChainSerializer(CertificateSerializer):
    chain = serializers.CharField(help_text="PEM: the CA and what is above it")

    class Meta(CertificateSerializer.Meta):
        fields: tuple[str, ...] = (*CertificateSerializer.Meta.fields, "chain")
        read_only_fields: tuple[str, ...] = fields


class IssueSerializer(Strict):
    """A request for the device's own key, or the kind of key to make for it."""

    csr = Text(max_length=LONGEST, required=False, pattern=PEM, help_text="PEM")
    key_type = serializers.ChoiceField(choices=KEY_TYPES, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "csr" in attrs and "key_type" in attrs:
            raise serializers.ValidationError(
                {"key_type": "The request has a key already: leave this out."}
            )
        return attrs


class AcknowledgementSerializer(Strict):
    serial_number = Text(max_length=64, pattern=r"[0-9A-Fa-f: ]+")


class BundleRequestSerializer(Strict):
    """How the device wants its key, certificate and chain."""

    form = serializers.ChoiceField(choices=FORMS, default="pem")
    passphrase = Text(
        max_length=256,
        required=False,
        pattern=r"[ -~]+",
        help_text="Encrypts the key; PKCS #12 wants one.",
    )


class SuggestedWindowSerializer(serializers.Serializer[Any]):
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()


class RenewalInfoSerializer(serializers.Serializer[Any]):
    """When to renew: at a moment chosen at random in the window."""

    suggested_window = SuggestedWindowSerializer(source="*")
    reason = serializers.CharField(
        help_text="`expiry`, `superseded`, `revoked`, or why it was pulled forward."
    )


class RevocationSerializer(Strict):
    reason = serializers.ChoiceField(
        choices=DeviceCertificate.Reason.choices,
        default=DeviceCertificate.Reason.UNSPECIFIED,
        help_text="RFC 5280 §5.3.1",
    )


class ValidationRequestSerializer(Strict):
    certificate = Text(max_length=LONGEST, pattern=r"[\s\S]+", help_text="PEM")


class ValidationSerializer(serializers.Serializer[Any]):
    valid = serializers.BooleanField()
    problems = serializers.ListField(child=serializers.CharField())
    serial_number = serializers.CharField(
        source="certificate.serial_number", default=None, allow_null=True
    )
    device_id = serializers.UUIDField(
        source="certificate.device_id", default=None, allow_null=True
    )
    status = serializers.ChoiceField(
        source="certificate.status",
        choices=DeviceCertificate.Status.choices,
        default=None,
        allow_null=True,
    )


class AutoRegistrationSerializer(BoxSerializer):
    """A box lets itself in; with a CSR it gets its certificate in the same answer."""

    csr = Text(max_length=LONGEST, required=False, pattern=PEM, help_text="PEM")


class RegisteredSerializer(serializers.Serializer[Any]):
    """What a box gets back; the token is shown this once."""

    device = DeviceSerializer()
    token = serializers.CharField()
    certificate = CertificateWithChainSerializer(allow_null=True)


def with_chain(certificate: DeviceCertificate) -> dict[str, Any]:
    """A certificate as it is answered, with the chain above it."""
    return {
        **CertificateSerializer(certificate).data,
        "chain": authorities.chain_of(certificate.authority_key_id),
    }
