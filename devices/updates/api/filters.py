"""Filters of the lists of packages, rollouts and updates of devices."""

import django_filters
from django import forms
from drf_spectacular.utils import extend_schema_field

from core.rest.filters import StrictFilterSet
from devices.registry.device_filters import IdFilter
from devices.updates.models import Deployment, SoftwareUpdate, Status, UpdateStatus
from devices.updates.services.rollout_settings import MAX_WAVES


class PackageFilter(StrictFilterSet):
    """Filter packages by `product` (its name) and `state`."""

    product = django_filters.CharFilter(field_name="product__name")
    state = django_filters.ChoiceFilter(choices=SoftwareUpdate.State.choices)

    class Meta:
        model = SoftwareUpdate
        fields = ("state",)


class RolloutListFilter(StrictFilterSet):
    """Filter rollouts by `state` and `package` (its id)."""

    state = django_filters.ChoiceFilter(choices=Deployment.State.choices)
    package = IdFilter()

    class Meta:
        model = Deployment
        fields = ("state",)


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": MAX_WAVES})
class WaveFilter(django_filters.NumberFilter):
    """Filter updates by the number of their wave."""

    field_class = forms.IntegerField


class StatusFilter(StrictFilterSet):
    """Filter updates of devices by `status`, `wave` (its number) and `error_code`."""

    status = django_filters.ChoiceFilter(choices=Status.choices)
    wave = WaveFilter(field_name="wave__number", min_value=1, max_value=MAX_WAVES)
    error_code = django_filters.CharFilter(max_length=64)

    class Meta:
        model = UpdateStatus
        fields = ("status", "error_code")
