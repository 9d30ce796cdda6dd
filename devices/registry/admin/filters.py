"""Filters of the device list in the portal."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from unfold.contrib.filters.admin import TextFilter

from devices.registry.admin.attributes import PREFIX
from devices.registry.attribute_filter import SEPARATOR
from devices.registry.models import DeviceQuerySet

# Filters of the list → parameters of `GET /devices`.
_CONDITIONS = {
    ("status", "never_connected"): {"never_connected": "true"},
    ("status", "offline"): {"status": "offline", "never_connected": "false"},
    ("pending", "quarantine"): {"quarantined": "true"},
    ("pending", "asking"): {"asking": "true"},
    ("configuration", "drifted"): {"drifted": "true"},
    ("configuration", "applied"): {"drifted": "false"},
}
_NAMES = {
    "status": "status",
    "model": "model_contains",
    "tag": "tag",
    "site": "site",
    "q": "search",
}


class StatusFilter(admin.SimpleListFilter):
    """Filter devices by state. Devices that have never connected have a state of their own."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("online", "Online"),
            ("offline", "Offline"),
            ("never_connected", "Never connected"),
            ("retired", "Retired"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(queryset, DeviceQuerySet)
        match self.value():
            case "offline":
                return queryset.offline()
            case "never_connected":
                return queryset.never_connected()
            case "online" | "retired" as status:
                return queryset.filter(status=status)
        return queryset


class ModelFilter(TextFilter):
    """Filter devices by a part of the model."""

    title = "model"
    parameter_name = "model"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = (self.value() or "").strip()
        return queryset.filter(model__icontains=value) if value else queryset


class TagFilter(TextFilter):
    """Filter devices by the name of a tag. `suggest.js` suggests names."""

    title = "tag"
    parameter_name = "tag"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(queryset, DeviceQuerySet)
        value = (self.value() or "").strip()
        return queryset.with_tag(value) if value else queryset


class SiteFilter(TextFilter):
    """Filter devices by the name or id of a site. Devices at the sites in it are included."""

    title = "site"
    parameter_name = "site"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(queryset, DeviceQuerySet)
        value = (self.value() or "").strip()
        return queryset.at_site(value) if value else queryset


class DriftFilter(admin.SimpleListFilter):
    """Filter devices by whether they applied their desired configuration."""

    title = "configuration"
    parameter_name = "configuration"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("drifted", "Drifted"), ("applied", "Applied or not set")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(queryset, DeviceQuerySet)
        match self.value():
            case "drifted":
                return queryset.drifted()
            case "applied":
                return queryset.not_drifted()
        return queryset


def conditions_of(parameters: QueryDict) -> dict[str, str]:
    """Return the filters of a list of devices as parameters of `GET /devices`.

    So an operation on all devices of a list selects the devices that the list shows.
    """
    conditions: dict[str, str] = {}
    attributes = []
    for name, value in parameters.dict().items():
        text = str(value).strip()
        if text:
            conditions |= _CONDITIONS.get((name, text), {})
            if name in _NAMES and (name, text) not in _CONDITIONS:
                conditions[_NAMES[name]] = text
            if name.startswith(PREFIX):
                attributes.append(f"{name.removeprefix(PREFIX)}:{text}")
    if attributes:
        conditions["attributes"] = SEPARATOR.join(attributes)
    return conditions
