"""How lists of devices are narrowed and ordered."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.functional import cached_property
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ValidationError
from rest_framework.filters import OrderingFilter

from devices.registry.device_filters import DeviceFilter


class DeviceListFilter(DeviceFilter):
    """The device filter as query parameters of the list."""

    Backend = DjangoFilterBackend

    @cached_property
    def now(self) -> datetime:  # type: ignore[override]
        return timezone.now()

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.data.get("status") == "":
            raise ValidationError({"status": "Leave it out for every status."})
        return super().filter_queryset(queryset)


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
