"""Serializers of metric queries and responses."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import StrictCharField
from core.rest.ignored import IgnoredSerializer
from core.rest.strict import StrictSerializer
from devices.metrics.measures import CHOICES
from devices.metrics.models import ROLL_UPS
from devices.metrics.services.aggregates import GROUPINGS

BUCKETS = ("raw", *ROLL_UPS)


class PeriodSerializer(StrictSerializer):
    """A period; `from` is inclusive, `to` is exclusive."""

    from_ = serializers.DateTimeField(required=False)
    to = serializers.DateTimeField(required=False)

    def get_fields(self) -> dict[str, Any]:
        """Rename `from_` to `from`, which is a keyword in Python."""
        fields = super().get_fields()
        return {name.rstrip("_"): field for name, field in fields.items()}


class HistoryQuerySerializer(PeriodSerializer):
    bucket = serializers.ChoiceField(
        choices=BUCKETS,
        default="raw",
        help_text="`raw` returns samples. `hour` and `day` return roll-ups.",
    )
    measure = serializers.ChoiceField(
        choices=CHOICES, required=False, help_text="Limit roll-ups to this measure."
    )
    cursor = StrictCharField(max_length=1000, required=False)
    page_size = serializers.IntegerField(required=False, min_value=1, max_value=500)


class AggregateQuerySerializer(PeriodSerializer):
    measure = serializers.ChoiceField(choices=CHOICES)
    by = serializers.ChoiceField(
        choices=[name for name in GROUPINGS if name],
        required=False,
        help_text="Return one group for each value. If omitted, return one group in total.",
    )
    model = StrictCharField(max_length=64, required=False)
    app_version = StrictCharField(max_length=64, required=False)
    tag = StrictCharField(max_length=64, required=False)


class FaultSerializer(serializers.Serializer[Any]):
    """An error in one sample. `attr` is the path of the faulty field, or of the sample."""

    code = serializers.CharField()
    detail = serializers.CharField()
    attr = serializers.CharField()


class StoredSerializer(serializers.Serializer[Any]):
    """The result of storing samples. All samples that are not in `refused` are stored."""

    stored = serializers.IntegerField()
    repeated = serializers.IntegerField(help_text="Number of samples that were already stored.")
    corrected = serializers.IntegerField(
        help_text=("Number of samples whose time was corrected to the server's clock.")
    )
    refused = FaultSerializer(many=True)
    ignored = IgnoredSerializer(
        many=True, help_text="Values that were converted, cut or dropped; at most 100."
    )
    server_time = serializers.DateTimeField()


class GroupSerializer(serializers.Serializer[Any]):
    value = serializers.CharField(
        help_text="The model, version, tag or time of the group. Empty without `by`."
    )
    devices = serializers.IntegerField()
    samples = serializers.IntegerField()
    average = serializers.FloatField()
    minimum = serializers.FloatField()
    maximum = serializers.FloatField()
    p95 = serializers.FloatField(
        help_text="95 % of the devices have an average at or below this value."
    )


class AggregateSerializer(serializers.Serializer[Any]):
    """A measure aggregated across the tenant's devices."""

    measure = serializers.CharField()
    unit = serializers.CharField(allow_blank=True)
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    groups = GroupSerializer(many=True)
