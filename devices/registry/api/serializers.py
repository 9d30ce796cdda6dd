"""Serializers of the device registry."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from core.rest.fields import (
    ExactCharField,
    IPAddressField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
)
from core.rest.ignored import IgnoredSerializer
from core.rest.strict import StrictSerializer
from core.rest.tolerant import TolerantSerializer
from devices.registry.api.device_answer import device_answer
from devices.registry.device_report import DeviceReport
from devices.registry.identifiers import MAX_MAC_ADDRESSES
from devices.registry.models import AttributeDefinition, Device, Reregistration, Site
from devices.registry.services.attributes import MAX_CHOICES, MAX_NOTES, MAX_TEXT
from devices.registry.services.tags import TAG_PATTERN
from devices.registry.signature_algorithms import ALGORITHMS

MAX_ABIS = 10
MAX_ALGORITHMS = 10
MAX_REPORT_NUMBER = 2**53 - 1  # the largest integer that every JSON parser reads exactly


class DeviceReportFields(serializers.Serializer[Any]):
    """The identifiers, the hardware and the versions of a device."""

    serial_number = ExactCharField(max_length=64, required=False, allow_blank=True)
    android_id = ExactCharField(max_length=64, required=False, allow_blank=True)
    mac_addresses = serializers.ListField(
        child=ExactCharField(max_length=32), required=False, max_length=MAX_MAC_ADDRESSES
    )
    manufacturer = StrictCharField(max_length=64, required=False, allow_blank=True)
    model = StrictCharField(max_length=64, required=False, allow_blank=True)
    os_version = StrictCharField(max_length=64, required=False, allow_blank=True)
    app_version = StrictCharField(max_length=64, required=False, allow_blank=True)
    screen_width = StrictIntegerField(
        min_value=1, max_value=100_000, required=False, allow_null=True
    )
    screen_height = StrictIntegerField(
        min_value=1, max_value=100_000, required=False, allow_null=True
    )
    abis = serializers.ListField(
        child=StrictCharField(max_length=20),
        required=False,
        max_length=MAX_ABIS,
        help_text="What the processor runs, such as `arm64-v8a`; the preferred one first.",
    )
    signature_algorithms = serializers.ListField(
        child=StrictCharField(max_length=20),
        required=False,
        max_length=MAX_ALGORITHMS,
        help_text="With which of `EdDSA` (Ed25519) and `ES256` (P-256) the device can verify"
        " commands and updates. By default `ES256` for Android below 13, else `EdDSA`.",
    )
    name = StrictCharField(max_length=120, required=False, allow_blank=True)


class DeviceMessageSerializer(DeviceReportFields, TolerantSerializer):
    """What a device reports about itself."""


REPORT_FIELDS = tuple(field.name for field in dataclasses.fields(DeviceReport))


def report_from(data: Mapping[str, Any]) -> DeviceReport:
    """Return the usable fields of `DeviceReportFields` as a device report."""
    fields = {name: data[name] for name in REPORT_FIELDS if name in data}
    return DeviceReport(**{**fields, "mac_addresses": tuple(data.get("mac_addresses", ()))})


def site_field() -> StrictCharField:
    return StrictCharField(
        max_length=120, required=False, allow_null=True, help_text="Name or id of a site."
    )


class ManualRegistrationSerializer(DeviceReportFields, StrictSerializer):
    tags = serializers.ListField(
        child=StrictCharField(max_length=64, pattern=TAG_PATTERN), max_length=100, required=False
    )
    site = site_field()


class DeviceUpdateSerializer(StrictSerializer):
    """The fields of a device that members may change."""

    name = StrictCharField(max_length=120, required=False)
    tags = serializers.ListField(
        child=StrictCharField(max_length=64, pattern=TAG_PATTERN), max_length=100, required=False
    )
    site = site_field()
    notes = serializers.CharField(max_length=MAX_NOTES, required=False, allow_blank=True)
    attributes = serializers.DictField(
        required=False,
        help_text="Values to set, by key; null removes one. Others stay as they are.",
    )


class AttributeSerializer(serializers.ModelSerializer[AttributeDefinition]):
    """An attribute that the devices of the tenant can have."""

    choices = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = AttributeDefinition
        fields = ("key", "label", "kind", "choices")
        read_only_fields = fields


class AttributesSerializer(serializers.Serializer[Any]):
    results = AttributeSerializer(many=True)


class AttributeFields(StrictSerializer):
    """An attribute. The kind of an existing one cannot be changed."""

    label: Any = StrictCharField(max_length=64)
    kind = serializers.ChoiceField(choices=AttributeDefinition.Kind.choices)
    choices = serializers.ListField(
        child=StrictCharField(max_length=MAX_TEXT),
        max_length=MAX_CHOICES,
        required=False,
        help_text="Of the kind `choice`.",
    )


class ReplacementFields(StrictSerializer):
    replacement = serializers.UUIDField(help_text="ID of the new device, which is registered.")


class SiteOfDeviceSerializer(serializers.ModelSerializer[Site]):
    class Meta:
        model = Site
        fields = ("id", "name")
        read_only_fields = fields


class ReregistrationSerializer(serializers.ModelSerializer[Reregistration]):
    """The last re-registration request of a device, and a member's decision on the request."""

    class Meta:
        model = Reregistration
        fields = ("asked_at", "address", "decided_at", "allowed")
        read_only_fields = fields


class DeviceSerializer(serializers.Serializer[Device]):
    """A device in the responses of the device API."""

    # The fields describe the responses; `device_answer` writes them.
    id = serializers.UUIDField()
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=Device.Status.choices)
    last_seen = serializers.DateTimeField(allow_null=True)
    serial_number = serializers.CharField(allow_null=True)
    android_id = serializers.CharField(allow_null=True)
    mac_addresses = serializers.ListField(child=serializers.CharField())
    manufacturer = serializers.CharField()
    model = serializers.CharField()
    os_version = serializers.CharField()
    app_version = serializers.CharField()
    screen_width = serializers.IntegerField(allow_null=True)
    screen_height = serializers.IntegerField(allow_null=True)
    abis = serializers.ListField(child=serializers.CharField())
    signature_algorithm = serializers.ChoiceField(
        choices=ALGORITHMS, help_text="With which commands and updates are signed for the device."
    )
    ip_address = serializers.CharField(allow_null=True)
    tags = serializers.ListField(child=serializers.CharField())
    site = SiteOfDeviceSerializer(allow_null=True)
    notes = serializers.CharField(help_text="Empty in responses to devices.")
    attributes = serializers.DictField(
        help_text="Values of the tenant's attributes by key: texts, numbers, booleans and dates."
        " Empty in responses to devices."
    )
    replaces = serializers.UUIDField(
        allow_null=True, help_text="The device whose record this device took over."
    )
    replaced_by = serializers.UUIDField(allow_null=True)
    registered_at = serializers.DateTimeField()
    retired_at = serializers.DateTimeField(allow_null=True)
    quarantined_at = serializers.DateTimeField(allow_null=True)
    reregistration = ReregistrationSerializer(allow_null=True)
    configuration_waiting_since = serializers.DateTimeField(
        allow_null=True,
        help_text="Time since which the desired configuration has not been applied; null if "
        "it is applied or not set.",
    )

    def to_representation(self, instance: Device) -> dict[str, Any]:
        return device_answer(instance)


class ConnectSerializer(TolerantSerializer):
    """The data that a device sends with each connect."""

    app_version = StrictCharField(max_length=64, required=False, allow_blank=True)
    os_version = StrictCharField(max_length=64, required=False, allow_blank=True)
    ip_address = IPAddressField(required=False)
    boot_id = ExactCharField(
        max_length=36,
        required=False,
        help_text="A value that is new after each start of the operating system.",
    )
    report_number = StrictIntegerField(
        min_value=0,
        max_value=MAX_REPORT_NUMBER,
        required=False,
        help_text="The number of this report, which the device counts.",
    )
    certificate_serial_number = ExactCharField(
        max_length=60,
        required=False,
        allow_blank=True,
        help_text="Serial number of the certificate that the device uses. It confirms the"
        " certificate.",
    )


class RenewalWindowSerializer(serializers.Serializer[Any]):
    """The time window for renewing a device's certificate (with the semantics of RFC 9773 §4)."""

    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    reason = serializers.CharField(help_text="`expiry`, or the reason for an earlier renewal.")


class NextStepsSerializer(serializers.Serializer[Any]):
    """Everything that a device should do next."""

    configuration_version = serializers.CharField(
        allow_null=True, help_text="The desired version; null if none is set."
    )
    configuration_waiting = serializers.BooleanField(
        help_text="True until the device reports that it applied `configuration_version`."
    )
    settings_version = serializers.CharField(
        allow_null=True, help_text="When this version changes, read the settings again."
    )
    commands_waiting = serializers.IntegerField()
    command_sequence = serializers.IntegerField(help_text="Sequence number of the last command.")
    command_stream = serializers.CharField(allow_null=True, help_text="URL of the push channel.")
    update_waiting = serializers.BooleanField()
    certificate_renewal_due = serializers.BooleanField()
    certificate_serial_number = serializers.CharField(allow_null=True)
    certificate_renewal = RenewalWindowSerializer(allow_null=True)


class ConnectedSerializer(serializers.Serializer[Any]):
    device_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Device.Status.choices)
    server_time = serializers.DateTimeField()
    next_connect_in = serializers.IntegerField(help_text="Seconds until the next connect.")
    quarantined = serializers.BooleanField(
        help_text="If true, only connect requests are accepted until a member releases the device."
    )
    next_steps = NextStepsSerializer()
    ignored = IgnoredSerializer(many=True)


class QuarantineSerializer(StrictSerializer):
    reason = StrictCharField(max_length=200, required=False, allow_blank=True)


class ReregistrationDecisionSerializer(StrictSerializer):
    allow = StrictBooleanField()


class PairSerializer(DeviceMessageSerializer):
    """The identifiers and the hardware of the device to pair."""


class PairingSerializer(serializers.Serializer[Any]):
    """The codes of a pairing (RFC 8628 §3.2). They are returned only once."""

    device_code = serializers.CharField()
    user_code = serializers.CharField(help_text="The code to show on the screen.")
    verification_uri = serializers.URLField()
    verification_uri_complete = serializers.URLField()
    qr_code = serializers.CharField(
        help_text="QR code of `verification_uri_complete`, as a PNG image in a data URI."
    )
    expires_in = serializers.IntegerField(help_text="Seconds until the codes expire.")
    interval = serializers.IntegerField(help_text="Minimum seconds between two polls.")
    ignored = IgnoredSerializer(many=True)


class DeviceCodeSerializer(TolerantSerializer):
    device_code = ExactCharField(max_length=100, pattern=r"pai_[A-Za-z0-9_-]{43}")


class PairedSerializer(serializers.Serializer[Any]):
    """The paired device and its token. The token is returned only once."""

    device = DeviceSerializer()
    token = serializers.CharField()


class TokenSerializer(serializers.Serializer[Any]):
    """A new device token. It is returned only once."""

    token = serializers.CharField()
