"""Admin classes for the preferences of a tenant and of the platform."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path
from unfold.decorators import display

from core import clock
from devices.preferences.admin import device_panel
from devices.preferences.admin.forms import PlatformPreferenceForm, PreferenceForm, format_value
from devices.preferences.models import PlatformPreference, PreferenceDefinition
from devices.preferences.services import definitions
from tenants.admin.base import CascadeDeleteMixin, PortalAdmin, signed_in_user
from tenants.context import tenant_scope

FIELDS = (
    "key",
    "label",
    "description",
    "kind",
    ("minimum", "maximum"),
    "choices",
    "default",
    "device_may_write",
)


class DefinitionAdmin(CascadeDeleteMixin, PortalAdmin):
    """Base of the admin classes for the definitions of preferences."""

    list_display = ("label", "key", "kind", "default_text", "writable_by")
    list_filter = ("kind",)
    search_fields = ("key__istartswith",)
    ordering = ("key",)

    @admin.display(description="Default")
    def default_text(self, row: Any) -> str:
        return format_value(row.kind, row.default)[:80]

    @display(description="Writable by", label={"device": "success", "members": "info"})
    def writable_by(self, row: Any) -> tuple[str, str]:
        if row.device_may_write:
            return "device", "device and members"
        return "members", "members only"


@admin.register(PreferenceDefinition)
class PreferenceAdmin(DefinitionAdmin):
    """A tenant's preferences. The list also shows the platform's preferences."""

    list_select_related = ("tenant",)
    list_before_template = "portal/preferences.html"

    def get_urls(self) -> list[Any]:
        write = self.admin_site.admin_view(self.write)
        url = path("device/<uuid:device_id>/", write, name="preferences_write")
        return [url, *super().get_urls()]

    service_form = PreferenceForm
    fields = FIELDS

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list with the platform's preferences above it."""
        platform = [
            (row, format_value(row.kind, row.default)) for row in PlatformPreference.objects.all()
        ]
        own = set(self.get_queryset(request).values_list("key", flat=True)[:1000])
        may_add = self.has_add_permission(request)
        context = {
            **(extra_context or {}),
            "platform": [(row, text, row.key in own) for row, text in platform],
            "may_add": may_add and not signed_in_user(request).sees_every_tenant,
        }
        return super().changelist_view(request, context)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return the initial values from the platform preference with the key in the URL."""
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
            "default": format_value(row.kind, row.default),
            "device_may_write": row.device_may_write,
        }

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            definitions.remove(key=obj.key, now=clock.now())

    def write(self, request: HttpRequest, device_id: UUID) -> HttpResponse:
        return device_panel.write(request, device_id)


@admin.register(PlatformPreference)
class PlatformPreferenceAdmin(DefinitionAdmin):
    """The platform's preferences, which apply to the devices of all tenants."""

    service_form = PlatformPreferenceForm
    fields = FIELDS

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        definitions.remove_from_platform(key=obj.key, now=clock.now())
