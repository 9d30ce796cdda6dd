"""How the portal's list of devices is narrowed."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from devices.registry.models import DeviceQuerySet, Tag
from tenants.admin.base import person
from tenants.roles import visible_to

MOST_TAGS = 200  # a longer list is no filter


class TagFilter(admin.SimpleListFilter):
    """Devices that wear a tag."""

    title = "tag"
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        tags = visible_to(person(request), Tag).order_by("name")
        names = tags.values_list("name", flat=True).distinct()[:MOST_TAGS]
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(queryset, DeviceQuerySet)
        value = self.value()
        return queryset.tagged(value) if value else queryset


class DriftFilter(admin.SimpleListFilter):
    """Devices that have not what they should have."""

    title = "configuration"
    parameter_name = "configuration"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("drifted", "drifted"), ("applied", "applied, or none wanted")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(queryset, DeviceQuerySet)
        match self.value():
            case "drifted":
                return queryset.drifted()
            case "applied":
                return queryset.not_drifted()
        return queryset
