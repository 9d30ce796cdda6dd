"""Filters of the device list in the portal."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from devices.registry.models import DeviceQuerySet, Site, Tag
from tenants.admin.base import signed_in_user
from tenants.roles import visible_to

MAX_CHOICES = 200  # a longer list is not usable as a filter


class TagFilter(admin.SimpleListFilter):
    """Filter devices by tag."""

    title = "tag"
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        tags = visible_to(signed_in_user(request), Tag).order_by("name")
        names = tags.values_list("name", flat=True).distinct()[:MAX_CHOICES]
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(queryset, DeviceQuerySet)
        value = self.value()
        return queryset.with_tag(value) if value else queryset


class SiteFilter(admin.SimpleListFilter):
    """Filter devices by site. Devices at the sites in it are included."""

    title = "site"
    parameter_name = "site"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        sites = visible_to(signed_in_user(request), Site).order_by("name")
        return [(str(pk), name) for pk, name in sites.values_list("pk", "name")[:MAX_CHOICES]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        assert isinstance(queryset, DeviceQuerySet)
        value = self.value()
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
