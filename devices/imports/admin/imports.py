"""The portal's list of imports."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path

from devices.imports.admin import import_pages
from devices.imports.models import DeviceImport
from tenants.admin.base import PageAdmin, ReadOnlyAdmin
from tenants.admin.columns import choice_column, time_column

STATES = {
    "checked": "info",
    "checking": "info",
    "running": "info",
    "finished": "success",
    "failed": "danger",
}


@admin.register(DeviceImport)
class ImportAdmin(PageAdmin, ReadOnlyAdmin):
    """Imports of devices. The page of an import leads from its columns to its report."""

    list_display = ("__str__", "state_label", "rows_checked", "rows_imported", "by", "requested")
    list_filter = ("state",)
    list_select_related = ("tenant", "requested_by")
    ordering = ("-requested_at", "-id")
    change_form_outer_before_template = "portal/import.html"
    fields: Any = ("requested_by", "requested_at", "ended_at")
    readonly_fields = fields

    class Media:
        js = ("portal/upload.js",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(import_pages.MANAGE)

    def get_urls(self) -> list[Any]:
        view, row_path = self.admin_site.admin_view, "<uuid:import_id>"
        own = [
            path("create/", view(import_pages.create), name="imports_create"),
            path(f"{row_path}/file/", view(import_pages.upload), name="imports_file"),
            path(f"{row_path}/act/", view(import_pages.act), name="imports_act"),
            path(f"{row_path}/report/", view(import_pages.report), name="imports_report"),
        ]
        return [*own, *super().get_urls()]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return import_pages.new(request, self)

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return import_pages.page_context(request, row)

    @admin.display(description="By")
    def by(self, row: DeviceImport) -> str:
        return str(row.requested_by or "operator")

    state_label = choice_column("State", "state", STATES)
    requested = time_column("Requested", "requested_at", is_sortable=True)
