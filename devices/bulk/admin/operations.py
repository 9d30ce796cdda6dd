"""The portal's list of bulk operations."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import path

from devices.bulk.admin import operation_pages
from devices.bulk.models import BulkOperation
from tenants.admin.base import PageAdmin, ReadOnlyAdmin
from tenants.admin.columns import choice_column, time_column

STATES = {"running": "info", "finished": "success", "cancelled": "warning", "failed": "danger"}


@admin.register(BulkOperation)
class BulkOperationAdmin(PageAdmin, ReadOnlyAdmin):
    """Bulk operations. They are started from the list of devices."""

    list_display = (
        "what",
        "state_label",
        "found",
        "done",
        "unchanged",
        "refused",
        "by",
        "requested",
    )
    list_filter = ("state",)
    list_select_related = ("tenant", "requested_by")
    ordering = ("-requested_at", "-id")
    change_form_outer_before_template = "portal/bulk_operation.html"
    fields: Any = ("requested_by", "requested_at", "ended_at")
    readonly_fields = fields

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [
            path(
                "start/<slug:tenant>/<slug:action>/", view(operation_pages.start), name="bulk_start"
            ),
            path("<uuid:operation_id>/act/", view(operation_pages.act), name="bulk_act"),
            path("<uuid:operation_id>/report/", view(operation_pages.report), name="bulk_report"),
        ]
        return [*own, *super().get_urls()]

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return operation_pages.page_context(request, row)

    @admin.display(description="Action")
    def what(self, row: BulkOperation) -> str:
        return operation_pages.description(row)

    @admin.display(description="By")
    def by(self, row: BulkOperation) -> str:
        return str(row.requested_by or "operator")

    state_label = choice_column("State", "state", STATES)
    requested = time_column("Started", "requested_at", is_sortable=True)
