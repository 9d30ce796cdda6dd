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

    def get_fields(self) -> dict[str, Any]:
        pattern = CLOCK.strip("^$")
        clocks = {name: StrictCharField(pattern=pattern) for name in ("from", "until")}
        return {**super().get_fields(), **clocks}
