"""Filters of lists in the API."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from rest_framework.exceptions import ValidationError

BLANK = "The filter must not be blank. Omit it to get all rows."


class StrictFilterSet(FilterSet):
    """A filter set that rejects blank choices and ids. A blank value does not mean "all"."""

    Backend = DjangoFilterBackend

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        strict = (django_filters.ChoiceFilter, django_filters.UUIDFilter)
        names = [name for name, item in self.base_filters.items() if isinstance(item, strict)]
        if blank := [name for name in names if self.data.get(name) == ""]:
            raise ValidationError(dict.fromkeys(blank, BLANK))
        return super().filter_queryset(queryset)
