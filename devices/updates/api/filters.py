"""How packages, rollouts and devices' updates are narrowed in lists."""

from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError

from devices.registry.device_filters import IdFilter
from devices.updates.models import Deployment, SoftwareUpdate, Status, UpdateStatus
from devices.updates.services.terms import MAX_WAVES


class _StrictChoicesFilterSet(FilterSet):
    """A choice that is left empty is a mistake that should be heard of."""

    Backend = DjangoFilterBackend

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for name, filter_ in self.base_filters.items():
            is_choice = isinstance(filter_, django_filters.ChoiceFilter)
            if is_choice and self.data.get(name) == "":
                raise ValidationError({name: "Leave it out for all of them."})
        narrowed: QuerySet[Any] = super().filter_queryset(queryset)
        return narrowed


class PackageFilter(_StrictChoicesFilterSet):
    """`product`, by its name, and `state`."""

    product = django_filters.CharFilter(field_name="product__name")
    state = django_filters.ChoiceFilter(choices=SoftwareUpdate.State.choices)

    class Meta:
        model = SoftwareUpdate
        fields = ("state",)


class RolloutListFilter(_StrictChoicesFilterSet):
    """`state`, and of which package they are."""

    state = django_filters.ChoiceFilter(choices=Deployment.State.choices)
    package = IdFilter()

    class Meta:
        model = Deployment
        fields = ("state",)


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": MAX_WAVES})
class WaveFilter(django_filters.NumberFilter):
    """A wave by its number."""

    field_class = forms.IntegerField


class StatusFilter(_StrictChoicesFilterSet):
    """`status`, `wave` by its number, and `error_code`."""

    status = django_filters.ChoiceFilter(choices=Status.choices)
    wave = WaveFilter(field_name="wave__number", min_value=1, max_value=MAX_WAVES)
    error_code = django_filters.CharFilter(max_length=64)

    class Meta:
        model = UpdateStatus
        fields = ("status", "error_code")
