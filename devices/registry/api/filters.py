"""How lists of devices are narrowed and ordered."""

from typing import Any, ClassVar

import django_filters
from django import forms
from django.db.models import QuerySet
from django.utils import timezone
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from rest_framework.exceptions import ValidationError
from rest_framework.filters import OrderingFilter

from devices.registry.models import Device, DeviceQuerySet
from devices.registry.services.reregistration import GOOD_FOR


class TruthField(forms.NullBooleanField):
    """`true` or `false`; whatever else is a mistake that should be heard of."""

    widget = forms.TextInput
    default_error_messages: ClassVar = {"invalid": "It is either true or false."}

    def to_python(self, value: Any) -> bool | None:  # type: ignore[override]
        if value is None:
            return None
        if value not in ("true", "false"):
            raise forms.ValidationError(self.error_messages["invalid"], "invalid")
        return bool(value == "true")


class TruthFilter(django_filters.BooleanFilter):
    field_class = TruthField


class DeviceFilter(FilterSet):
    """`status`, `model`, `tag` and `search`; retired devices only when asked for."""

    status = django_filters.ChoiceFilter(choices=Device.Status.choices)
    model = django_filters.CharFilter()
    tag = django_filters.CharFilter(method="with_tag", max_length=64)
    quarantined = TruthFilter(method="in_quarantine")
    asking = TruthFilter(method="that_ask")
    drifted = TruthFilter(method="that_drifted")
    search = django_filters.CharFilter(method="with_words", max_length=120)

    Backend = DjangoFilterBackend

    class Meta:
        model = Device
        fields = ("status", "model")

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.data.get("status") == "":
            raise ValidationError({"status": "Leave it out for every status."})
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

    def that_drifted(
        self, devices: DeviceQuerySet, name: str, value: bool
    ) -> QuerySet[Device]:
        if value:
            return devices.drifted()
        return devices.exclude(next_steps__configuration_waiting_since__isnull=False)

    def with_words(
        self, devices: DeviceQuerySet, name: str, value: str
    ) -> QuerySet[Device]:
        return devices.found_by(value)


class DeviceOrdering(OrderingFilter):
    """By what an index holds, so that every page is as quick as the first."""

    ordering_fields = ("registered_at", "name")

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        described: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        fields = [
            f"{sign}{name}" for name in self.ordering_fields for sign in ("", "-")
        ]
        described[0]["schema"] = {"type": "string", "enum": fields}
        return described

    def get_valid_fields(
        self, queryset: Any, view: Any, context: Any = None
    ) -> list[tuple[str, str]]:
        return [(name, name) for name in self.ordering_fields]

    def get_default_ordering(self, view: Any) -> tuple[str, ...]:
        return ("-registered_at", "-id")

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> Any:
        """The id breaks ties, so that no device is on two pages or on none."""
        said = request.query_params.get(self.ordering_param)
        fields = [
            f"{sign}{name}" for name in self.ordering_fields for sign in ("", "-")
        ]
        if said is not None and said not in fields:
            raise ValidationError({self.ordering_param: f"One of {', '.join(fields)}."})
        ordering = super().get_ordering(request, queryset, view) or ()
        if len(ordering) == 1:
            sign = "-" if ordering[0].startswith("-") else ""
            return (*ordering, f"{sign}id")
        return ordering
