"""Serializers of notification channels and their messages."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import StrictBooleanField, StrictCharField
from core.rest.strict import StrictSerializer
from events.models import Channel, ChannelDelivery, Event
from events.severity import Severity


class ChannelUpdateSerializer(StrictSerializer):
    """Changes of a channel. Omitted fields keep their values."""

    name = StrictCharField(max_length=120, required=False)
    url = StrictCharField(
        max_length=500, required=False, help_text="URL of a webhook (http or https)."
    )
    recipients = serializers.ListField(
        child=StrictCharField(max_length=254),
        max_length=20,
        required=False,
        help_text="E-mail addresses of a mail channel.",
    )
    events = serializers.ListField(
        child=StrictCharField(max_length=64, pattern=r"[a-z_*]+(\.[a-z_*]+)?"),
        min_length=1,
        max_length=50,
        required=False,
        help_text="Event names or patterns. Default of a new channel: `alert.*`.",
    )
    least_severity = serializers.ChoiceField(
        choices=Severity.choices,
        required=False,
        allow_null=True,
        help_text="Minimum severity. If set, events without a severity are not sent.",
    )
    tag = StrictCharField(
        max_length=64,
        required=False,
        allow_null=True,
        help_text="If set, only events of devices with this tag are sent.",
    )
    is_enabled = StrictBooleanField(required=False)

    def service_arguments(self) -> dict[str, Any]:
        """Return the validated data with empty strings instead of null."""
        values: dict[str, Any] = dict(self.validated_data)
        for name in ("least_severity", "tag"):
            if name in values:
                values[name] = values[name] or ""
        return values


class ChannelFields(ChannelUpdateSerializer):
    name = StrictCharField(max_length=120)
    kind = serializers.ChoiceField(choices=Channel.Kind.choices)


class ChannelSerializer(serializers.ModelSerializer[Channel]):
    """A channel, without its secret."""

    least_severity = serializers.CharField(
        help_text="Minimum severity. If empty, events without a severity are sent too."
    )

    state = serializers.ChoiceField(
        choices=("on", "failing", "broken", "off"),
        help_text="`broken`: no message has succeeded for a day.",
    )

    class Meta:
        model = Channel
        fields = (
            "id",
            "name",
            "kind",
            "url",
            "recipients",
            "events",
            "least_severity",
            "tag",
            "is_enabled",
            "state",
            "failing_since",
            "failing_reason",
            "former_secret_until",
            "created_at",
        )
        read_only_fields = fields


class NewChannelSerializer(serializers.Serializer[Any]):
    channel = ChannelSerializer()
    secret = serializers.CharField(
        allow_null=True,
        help_text="Secret that signs a webhook's requests. Returned only once. Null for mail.",
    )


class SecretSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="Secret that signs the requests. Returned only once.")


class AttemptSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    milliseconds = serializers.IntegerField()
    status = serializers.IntegerField(
        allow_null=True, help_text="HTTP status. Null if there was no response, and for mail."
    )
    answer = serializers.CharField(
        allow_blank=True, help_text="Beginning of the response body, or the error message."
    )


class MessageSerializer(serializers.ModelSerializer[ChannelDelivery]):
    """One event sent to one channel, with its latest attempts."""

    state = serializers.ChoiceField(choices=("waiting", "delivered", "dead"))
    id = serializers.CharField(source="public_id")
    event_id = serializers.SerializerMethodField()
    log = AttemptSerializer(many=True)

    class Meta:
        model = ChannelDelivery
        fields = (
            "id",
            "event_id",
            "name",
            "device_id",
            "state",
            "attempts",
            "created_at",
            "due_at",
            "delivered_at",
            "dead_at",
            "log",
        )
        read_only_fields = fields

    def get_event_id(self, message: ChannelDelivery) -> str:
        return Event.public_id_of(message.event_id)


class EventNameSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)


class EventNamesSerializer(serializers.Serializer[Any]):
    results = EventNameSerializer(many=True, help_text="All events, sorted by name.")
