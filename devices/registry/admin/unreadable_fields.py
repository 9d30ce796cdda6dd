"""Portal page of the fields of devices' messages that cannot be used."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from devices.registry.models import UnreadableField
from tenants.admin.base import PortalAdmin
from tenants.admin.columns import time_column

MAX_SENTENCES = 20


@admin.register(UnreadableField)
class UnreadableFieldAdmin(PortalAdmin):
    """The admin class of unreadable fields. They are only viewed."""

    list_display = ("field", "device_link", "app_version", "detail", "code", "first_seen", "seen")
    list_display_links = None
    list_filter = ("code",)
    list_select_related = ("device", "tenant")
    list_before_template = "portal/unreadable_fields.html"
    search_fields = ("field", "app_version", "device__name")
    search_help_text = "Field, app version or device"
    ordering = ("-last_seen_at", "-id")

    seen = time_column("Last sent", "last_seen_at")
    first_seen = time_column("First sent", "first_seen_at")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        rows: Any = self.get_queryset(request)
        context = {"summary": rows.summary()[:MAX_SENTENCES], **(extra_context or {})}
        return super().changelist_view(request, context)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Device")
    def device_link(self, row: UnreadableField) -> str:
        url = reverse("admin:devices_device_change", args=[row.device_id])
        return format_html('<a href="{}">{}</a>', url, row.device.name)
