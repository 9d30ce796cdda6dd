"""How lists of devices are narrowed and ordered."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils import timezone
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from rest_framework.filters import OrderingFilter

from devices.models import Device, DeviceQuerySet
from devices.reregistration import GOOD_FOR


class DeviceFilter(FilterSet):
    """`status`, `model`, `tag` and `search`; retired devices only when asked for."""

    status = django_filters.ChoiceFilter(choices=Device.Status.choices)
    model = django_filters.CharFilter()
    tag = django_filters.CharFilter(method="with_tag", max_length=64)
    quarantined = django_filters.BooleanFilter(method="in_quarantine")
    asking = django_filters.BooleanFilter(method="that_ask")
    search = django_filters.CharFilter(method="with_words", max_length=120)

    Backend = DjangoFilterBackend

    class Meta:
        model = Device
        fields = ("status", "model")

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        narrowed: QuerySet[Any] = super().filter_queryset(queryset)
        if self.form.cleaned_data["status"]:
            return narrowed
        assert isinstance(narrowed, DeviceQuerySet)
        return narrowed.living()

    def with_tag(
        self, devices: DeviceQuerySet, name: str, value: str
    ) -> QuerySet[Device]:
        return devices.tagged(value)

    def in_quarantine(
        self, devices: DeviceQuerySet, name: str, value: bool
    ) -> QuerySet[Device]:
        return devices.filter(quarantined_at__isnull=not value)

    def that_ask(
        self, devices: DeviceQuerySet, name: str, value: bool
    ) -> QuerySet[Device]:
        asking = devices.asking(timezone.now() - GOOD_FOR)
        return asking if value else devices.exclude(pk__in=asking.values("pk"))

    def with_words(
        self, devices: DeviceQuerySet, name: str, value: str
    ) -> QuerySet[Device]:
        return devices.found_by(value)


class DeviceOrdering(OrderingFilter):
    """By what an index holds, so that every page is as quick as the first."""

    ordering_fields = ("registered_at", "name")

    def get_valid_fields(
        self, queryset: Any, view: Any, context: Any = None
    ) -> list[tuple[str, str]]:
        return [(name, name) for name in self.ordering_fields]

    def get_default_ordering(self, view: Any) -> tuple[str, ...]:
        return ("-registered_at", "-id")

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> Any:
        """The id breaks ties, so that no device is on two pages or on none."""
        ordering = super().get_ordering(request, queryset, view) or ()
        if len(ordering) == 1:
            sign = "-" if ordering[0].startswith("-") else ""
            return (*ordering, f"{sign}id")
        return ordering
