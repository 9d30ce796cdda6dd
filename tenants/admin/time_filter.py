"""A filter of lists by a range of times."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from unfold.contrib.filters.admin import RangeDateTimeFilter


class TimeRangeFilter(RangeDateTimeFilter):
    """Filter rows by a time, from and until. The times are those of the person's time zone."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for suffix, lookup, missing in (("from", "gte", "00:00:00"), ("to", "lte", "23:59:59")):
            name = f"{self.parameter_name}_{suffix}"
            day = self.used_parameters.get(f"{name}_0")
            if not day:
                continue
            clock = self.used_parameters.get(f"{name}_1") or missing
            moment = _parsed(f"{day}T{clock}")
            if moment is not None:
                queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": moment})
        return queryset


def _parsed(text: str) -> Any:
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    return timezone.make_aware(moment) if moment is not None else None
