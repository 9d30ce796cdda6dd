"""Filtering and ordering of device lists."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.functional import cached_property
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.filters import OrderingFilter

from core import clock
from core.rest.fields import StrictCharField
from devices.registry.device_filters import MAX_IDS, DeviceFilter

MAX_LENGTH = 37 * MAX_IDS  # of a value


class DeviceFilterField(serializers.DictField):
    """The filter of an operation that changes devices: the query parameters of `GET /devices`.

    To select every device, a caller must say `{"all": true}`. The validated value is `{}` then.
    """

    MAX_PARAMETERS = 20
    default_error_messages = {  # noqa: RUF012 # DRF merges the messages of all classes
        "empty_filter": 'An empty filter selects no device. For every device, send {{"all": true}}.',
        "not_alone": "`all` must be true, and cannot be combined with other parameters.",
        "max_parameters": f"A filter can have at most {MAX_PARAMETERS} parameters.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=StrictCharField(max_length=MAX_LENGTH, allow_blank=True), **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if data == {}:
            self.fail("empty_filter")
        if isinstance(data, dict) and "all" in data:
            if data != {"all": True} or data["all"] is not True:
                self.fail("not_alone")
            return {}
        if isinstance(data, dict) and len(data) > self.MAX_PARAMETERS:
            self.fail("max_parameters")
        return dict(super().to_internal_value(data))


class DeviceListFilter(DeviceFilter):
    """The device filter as query parameters of `GET /devices`."""

    Backend = DjangoFilterBackend

    @cached_property
    def now(self) -> datetime:  # type: ignore[override]
        return clock.now()

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.data.get("status") == "":
            raise ValidationError({"status": "Omit this parameter to list all unretired devices."})
        return super().filter_queryset(queryset)


class DeviceOrdering(OrderingFilter):
    """Ordering by indexed columns only, so that every page is equally fast."""

    ordering_fields = ("registered_at", "name")
    accepted_values = ("registered_at", "-registered_at", "name", "-name")

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters = super().get_schema_operation_parameters(view)
        parameters[0]["schema"] = {"type": "string", "enum": list(self.accepted_values)}
        return parameters

    def get_valid_fields(
        self, queryset: Any, view: Any, context: Any = None
    ) -> list[tuple[str, str]]:
        return [(name, name) for name in self.ordering_fields]

    def get_default_ordering(self, view: Any) -> tuple[str, ...]:
        return ("-registered_at", "-id")

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> Any:
        """Return the requested ordering with the id as a tie-breaker.

        Without the id, a device could appear on two pages or on none.
        """
        value = request.query_params.get(self.ordering_param)
        if value is not None and value not in self.accepted_values:
            raise ValidationError(
                {self.ordering_param: f"Accepted values: {', '.join(self.accepted_values)}."}
            )
        ordering = super().get_ordering(request, queryset, view) or ()
        if len(ordering) == 1:
            sign = "-" if ordering[0].startswith("-") else ""
            return (*ordering, f"{sign}id")
        return ordering
