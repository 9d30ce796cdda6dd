"""The JSON of metrics: questions in, answers out."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import Text
from core.rest.strict import Strict
from devices.metrics.measures import CHOICES
from devices.metrics.models import ROLL_UPS
from devices.metrics.services.aggregates import GROUPINGS

BUCKETS = ("raw", *ROLL_UPS)


class PeriodSerializer(Strict):
    """From when, with it, to when, without it."""

    from_ = serializers.DateTimeField(required=False)
    to = serializers.DateTimeField(required=False)

    def get_fields(self) -> dict[str, Any]:
        """`from` is a word of Python's own."""
        fields = super().get_fields()
        return {name.rstrip("_"): field for name, field in fields.items()}


class HistoryQuestionSerializer(PeriodSerializer):
    bucket = serializers.ChoiceField(
        choices=BUCKETS,
        default="raw",
        help_text="Each sample, or what an hour or a day came to.",
    )
    measure = serializers.ChoiceField(
        choices=CHOICES, required=False, help_text="Of a roll-up, only this."
    )
    cursor = Text(max_length=1000, required=False)
    page_size = serializers.IntegerField(required=False, min_value=1, max_value=500)


class AggregateQuestionSerializer(PeriodSerializer):
    measure = serializers.ChoiceField(choices=CHOICES)
    by = serializers.ChoiceField(
        choices=[name for name in GROUPINGS if name],
        required=False,
        help_text="One group for each value; without it, one for all.",
    )
    model = Text(max_length=64, required=False)
    app_version = Text(max_length=64, required=False)
    tag = Text(max_length=64, required=False)


class FaultSerializer(serializers.Serializer[Any]):
    """What is wrong with one sample; `attr` names it and its field."""

    code = serializers.CharField()
    detail = serializers.CharField()
    attr = serializers.CharField()


class StoredSerializer(serializers.Serializer[Any]):
    """What became of the samples; those that are not refused are kept for certain."""

    stored = serializers.IntegerField()
    repeated = serializers.IntegerField(help_text="They were there already.")
    corrected = serializers.IntegerField(
        help_text="They have the server's time: the device's clock is wrong."
    )
    refused = FaultSerializer(many=True)
    server_time = serializers.DateTimeField()


class GroupSerializer(serializers.Serializer[Any]):
    value = serializers.CharField(help_text="Of `by`; empty for all together.")
    devices = serializers.IntegerField()
    samples = serializers.IntegerField()
    average = serializers.FloatField()
    minimum = serializers.FloatField()
    maximum = serializers.FloatField()
    p95 = serializers.FloatField(
        help_text="95 of 100 devices have an average at or below it."
    )


class AggregateSerializer(serializers.Serializer[Any]):
    """A measure across the tenant's devices."""

    measure = serializers.CharField()
    unit = serializers.CharField(allow_blank=True)
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    groups = GroupSerializer(many=True)
