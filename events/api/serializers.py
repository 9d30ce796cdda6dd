"""The JSON of channels and of the messages that go over them."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import Text, Truth
from core.rest.strict import Strict
from events.models import Channel, ChannelDelivery
from events.severity import Severity


class ChannelUpdateSerializer(Strict):
    """What is left out stays as it is."""

    name = Text(max_length=120, required=False)
    url = Text(max_length=500, required=False, help_text="Of a webhook.")
    recipients = serializers.ListField(
        child=Text(max_length=254), max_length=20, required=False
    )
    events = serializers.ListField(
        child=Text(max_length=64, pattern=r"[a-z_*]+(\.[a-z_*]+)?"),
        min_length=1,
        max_length=50,
        required=False,
        help_text="Names, or patterns such as `alert.*`, which is the usual.",
    )
    least_severity = serializers.ChoiceField(
        choices=Severity.choices,
        required=False,
        allow_null=True,
        help_text="With one, only events that have a severity.",
    )
    tag = Text(max_length=64, required=False, allow_null=True)
    is_enabled = Truth(required=False)

    def said(self) -> dict[str, Any]:
        """For the verbs: what is null is empty."""
        words: dict[str, Any] = dict(self.validated_data)
        for name in ("least_severity", "tag"):
            if name in words:
                words[name] = words[name] or ""
        return words


class ChannelFields(ChannelUpdateSerializer):
    name = Text(max_length=120)
    kind = serializers.ChoiceField(choices=Channel.Kind.choices)


class ChannelSerializer(serializers.ModelSerializer[Channel]):
    """A channel; its secret is told when it is made, and never again."""

    least_severity = serializers.CharField(help_text="Empty: any.")

    class Meta:
        model = Channel
        fields = (
            *("id", "name", "kind", "url", "recipients", "events", "least_severity"),
            *("tag", "is_enabled", "former_secret_until", "created_at"),
        )
        read_only_fields = fields


class NewChannelSerializer(serializers.Serializer[Any]):
    channel = ChannelSerializer()
    secret = serializers.CharField(
        allow_null=True, help_text="Of a webhook; shown this once."
    )


class SecretSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="Shown this once.")


class AttemptSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    milliseconds = serializers.IntegerField()
    status = serializers.IntegerField(allow_null=True, help_text="Of HTTP.")
    answer = serializers.CharField(allow_blank=True)


class MessageSerializer(serializers.ModelSerializer[ChannelDelivery]):
    """One event for one channel, with every attempt."""

    state = serializers.ChoiceField(choices=("waiting", "delivered", "dead"))
    event_id = serializers.IntegerField()
    log = AttemptSerializer(many=True)

    class Meta:
        model = ChannelDelivery
        fields = (
            *("id", "event_id", "name", "device_id", "state", "attempts"),
            *("created_at", "due_at", "delivered_at", "dead_at", "log"),
        )
        read_only_fields = fields
