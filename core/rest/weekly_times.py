"""Serializer of times that recur every week."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import StrictCharField
from core.rest.strict import StrictSerializer
from core.weekly_times import CLOCK, DAYS

WEEKDAYS = [(day, day) for day in DAYS]


class WeeklyTimeFields(StrictSerializer):
    """A time on some days of the week. If its end is not after its start, it ends a day later."""

    days = serializers.ListField(
        child=serializers.ChoiceField(choices=WEEKDAYS), min_length=1, max_length=7
    )
    until = StrictCharField(pattern=CLOCK.strip("^$"))

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), "from": StrictCharField(pattern=CLOCK.strip("^$"))}
