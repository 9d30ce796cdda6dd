"""Preferences in the portal: what settings there are, of a tenant and of the platform."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from unfold.decorators import display

from devices.preferences.admin import device_panel
from devices.preferences.admin.forms import (
    PlatformPreferenceForm,
    PreferenceForm,
    as_typed,
)
from devices.preferences.models import PlatformPreference, PreferenceDefinition
from devices.preferences.services import definitions
from tenants.admin.base import DeletesWhole, PortalAdmin, person
from tenants.context import tenant_scope

FIELDS = (
    *("key", "label", "description", "kind", ("minimum", "maximum"), "choices"),
    *("default", "device_may_write"),
)


class DefinitionAdmin(DeletesWhole, PortalAdmin):
    """A definition's list and its form, which calls the service."""

    list_display = ("label", "key", "kind", "shown_default", "writes")
    list_filter = ("kind",)
    search_fields = ("key__istartswith",)
    ordering = ("key",)

    @admin.display(description="Default")
    def shown_default(self, row: Any) -> str:
        return as_typed(row.kind, row.default)[:80]

    @display(description="Written by", label={"device": "success", "members": "info"})
    def writes(self, row: Any) -> tuple[str, str]:
        if row.device_may_write:
            return "device", "the device, members"
        return "members", "members only"


@admin.register(PreferenceDefinition)
class PreferenceAdmin(DefinitionAdmin):
    """What the person in front of a screen may choose."""

    list_select_related = ("tenant",)

    def get_urls(self) -> list[Any]:
        write = self.admin_site.admin_view(self.write)
        own = path("device/<uuid:device_id>/", write, name="preferences_write")
        return [own, *super().get_urls()]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return PreferenceForm.for_person(person(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first = ("tenant",) if obj is None and person(request).is_superuser else ()
        return ((None, {"fields": (*first, *FIELDS)}),)

    list_before_template = "portal/preferences.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        """With the platform's, for which a tenant may have a default of its own."""
        platform = [
            (row, as_typed(row.kind, row.default))
            for row in PlatformPreference.objects.all()
        ]
        own = set(self.get_queryset(request).values_list("key", flat=True)[:1000])
        may_add = self.has_add_permission(request)
        context = {
            **(extra_context or {}),
            "platform": [(row, text, row.key in own) for row, text in platform],
            "may_add": may_add and not person(request).is_superuser,
        }
        return super().changelist_view(request, context)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Of one of the platform's: as it is there."""
        key = request.GET.get("key", "")[:64].replace("\x00", "")
        row = PlatformPreference.objects.filter(key=key).first()
        if row is None:
            return {}
        return {
            "key": row.key,
            "label": row.label,
            "description": row.description,
            "kind": row.kind,
            "minimum": row.minimum,
            "maximum": row.maximum,
            "choices": "\n".join(row.choices),
            "default": as_typed(row.kind, row.default),
            "device_may_write": row.device_may_write,
        }

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            definitions.remove(key=obj.key, now=timezone.now())

    def write(self, request: HttpRequest, device_id: UUID) -> HttpResponse:
        return device_panel.write(request, device_id)


@admin.register(PlatformPreference)
class PlatformPreferenceAdmin(DefinitionAdmin):
    """What the devices of every tenant have."""

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return PlatformPreferenceForm.for_person(person(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return ((None, {"fields": FIELDS}),)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        definitions.remove_from_platform(key=obj.key, now=timezone.now())
