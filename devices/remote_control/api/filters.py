"""Query filters of command lists."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from rest_framework.exceptions import ValidationError

from devices.registry.device_filters import IdFilter
from devices.remote_control.command_types import CHOICES
from devices.remote_control.models import CommandHistory, Status


class CommandFilter(FilterSet):
    """Filters commands by status, type, session and bulk command."""

    status = django_filters.ChoiceFilter(choices=Status.choices)
    type = django_filters.ChoiceFilter(choices=CHOICES)
    session = IdFilter()
    bulk = IdFilter()

    Backend = DjangoFilterBackend

    class Meta:
        model = CommandHistory
        fields = ("status", "type")

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for name in ("status", "type"):
            if self.data.get(name) == "":
                raise ValidationError({name: "Must not be blank. Omit the parameter to list all."})
        return super().filter_queryset(queryset)
