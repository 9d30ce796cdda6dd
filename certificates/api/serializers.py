"""Serializers of the certificate API."""

from typing import Any

from rest_framework import serializers

from certificates.models import DeviceCertificate
from certificates.pki.bundles import FORMS
from certificates.pki.csr import MAX_LENGTH
from certificates.pki.keys import KEY_TYPES
from certificates.services import authorities
from core.rest.fields import PEM, PEMField, StrictCharField
from core.rest.ignored import IgnoredSerializer
from core.rest.strict import StrictSerializer
from devices.registry.api.serializers import DeviceMessageSerializer, DeviceSerializer


class CertificateSerializer(serializers.ModelSerializer[DeviceCertificate]):
    """A certificate with its status. It never contains a private key."""

    device_id = serializers.UUIDField(read_only=True)
    certificate = serializers.CharField(source="pem", help_text="The certificate in PEM.")
    revocation_reason = serializers.CharField(
        read_only=True, help_text="Empty unless the certificate is revoked."
    )
    replaces = serializers.CharField(
        source="replaces.serial_number",
        default=None,
        allow_null=True,
        help_text="Serial number of the certificate that this one replaces.",
    )

    class Meta:
        model = DeviceCertificate
        fields: tuple[str, ...] = (
            "serial_number",
            "device_id",
            "status",
            "fingerprint",
            "key_source",
            "not_before",
            "not_after",
            "issued_at",
            "warned_at",
            "confirmed_at",
            "handover_until",
            "key_delivered_at",
            "revoked_at",
            "revocation_reason",
            "replaces",
            "certificate",
        )
        read_only_fields: tuple[str, ...] = fields


class CertificateWithChainSerializer(CertificateSerializer):
    chain = serializers.CharField(
        help_text="The CA certificates in PEM: the issuing CA first, the root last."
    )

    class Meta(CertificateSerializer.Meta):
        fields: tuple[str, ...] = (*CertificateSerializer.Meta.fields, "chain")
        read_only_fields: tuple[str, ...] = fields


class IssueSerializer(StrictSerializer):
    """A CSR for the device's own key, or the type of the key that the server generates."""

    csr = StrictCharField(
        max_length=MAX_LENGTH,
        required=False,
        pattern=PEM,
        help_text="Certificate signing request (PKCS #10) in PEM.",
    )
    key_type = serializers.ChoiceField(
        choices=KEY_TYPES,
        required=False,
        help_text="Type of the key that the server generates. Not allowed with `csr`.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "csr" in attrs and "key_type" in attrs:
            raise serializers.ValidationError(
                {"key_type": "Must not be set together with csr, which contains a key."}
            )
        return attrs


class AcknowledgementSerializer(StrictSerializer):
    serial_number = StrictCharField(
        max_length=64,
        pattern=r"[0-9A-Fa-f: ]+",
        help_text="Hexadecimal. Colons, spaces and leading zeros are ignored.",
    )


class BundleRequestSerializer(StrictSerializer):
    """The file format in which the key, certificate and chain are returned."""

    form = serializers.ChoiceField(
        choices=FORMS, default="pem", help_text="File format of the bundle."
    )
    passphrase = StrictCharField(
        max_length=256,
        required=False,
        pattern=r"[ -~]+",
        help_text="Encrypts the private key. Required for `pkcs12`.",
    )


class SuggestedWindowSerializer(serializers.Serializer[Any]):
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()


class RenewalInfoSerializer(serializers.Serializer[Any]):
    """When to renew a certificate. Clients choose a random time within the window."""

    suggested_window = SuggestedWindowSerializer(source="*")
    reason = serializers.CharField(
        help_text=("`expiry`, `superseded`, `revoked`, or the reason of the renewal campaign.")
    )


class RevocationSerializer(StrictSerializer):
    reason = serializers.ChoiceField(
        choices=DeviceCertificate.Reason.choices,
        default=DeviceCertificate.Reason.UNSPECIFIED,
        help_text="Revocation reason (RFC 5280 §5.3.1).",
    )


class ValidationRequestSerializer(StrictSerializer):
    certificate = StrictCharField(
        max_length=MAX_LENGTH, pattern=r"[\s\S]+", help_text="The certificate in PEM."
    )


class ValidationSerializer(serializers.Serializer[Any]):
    valid = serializers.BooleanField()
    problems = serializers.ListField(
        child=serializers.CharField(),
        help_text=(
            "Every reason why the certificate is not valid: `malformed`, `unknown`, "
            "`fingerprint_mismatch`, `signature_invalid`, `not_yet_valid`, `expired`, "
            "`revoked`."
        ),
    )
    serial_number = serializers.CharField(
        source="certificate.serial_number", default=None, allow_null=True
    )
    device_id = serializers.UUIDField(source="certificate.device_id", default=None, allow_null=True)
    status = serializers.ChoiceField(
        source="certificate.status",
        choices=DeviceCertificate.Status.choices,
        default=None,
        allow_null=True,
    )


class AutoRegistrationSerializer(DeviceMessageSerializer):
    """The report of a device that registers itself. If it has a CSR, a certificate is issued."""

    csr = PEMField(
        max_length=MAX_LENGTH,
        required=False,
        help_text="Certificate signing request (PKCS #10) in PEM.",
    )


class RegisteredSerializer(serializers.Serializer[Any]):
    """The registered device and its token. If the device sent a CSR, also its certificate."""

    device = DeviceSerializer()
    token = serializers.CharField(help_text="The device's token. It is returned only once.")
    certificate = CertificateWithChainSerializer(allow_null=True)
    ignored = IgnoredSerializer(
        many=True, help_text="What could not be used of the report, and why."
    )


_certificate = CertificateSerializer()  # a new one for each certificate would copy all fields


def with_chain(certificate: DeviceCertificate) -> dict[str, Any]:
    """Serialise a certificate with its chain (`CertificateWithChainSerializer`)."""
    return {
        **_certificate.to_representation(certificate),
        "chain": authorities.chain_of(certificate.authority_key_id),
    }
