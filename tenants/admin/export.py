"""Export a list of the portal as CSV, as it is filtered."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.views.decorators.http import require_GET

from core.spreadsheets import as_text, csv_lines
from tenants.admin.base import PortalAdmin, list_url

Column = tuple[str, Callable[[Any], object]]  # the header, and the value for a row


class ExportMixin(PortalAdmin):
    """Admin whose list has a link to the same rows as CSV, in the order of their ids.

    `export_columns` are the columns. Values are written as text, None as a blank cell, times in
    UTC (ISO 8601).
    """

    export_columns: ClassVar[Sequence[Column]]
    list_before_template = "portal/list_links.html"

    def get_export_columns(self, request: HttpRequest) -> Sequence[Column]:
        return self.export_columns

    def export_rows(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows with the related rows that the columns need."""
        return rows

    def get_urls(self) -> list[Any]:
        options = self.opts
        name = f"{options.app_label}_{options.model_name}_export"
        view = self.admin_site.admin_view(require_GET(self.export))
        return [path("export/", view, name=name), *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """Return the rows of the list with the filters in the query string."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        answer: HttpResponseBase = self.with_filters(
            request, list_url(self), lambda: self._exported(request)
        )
        return answer

    def _exported(self, request: HttpRequest) -> StreamingHttpResponse:
        rows = self.get_changelist_instance(request).get_queryset(request)
        columns = self.get_export_columns(request)

        def cells(row: Any) -> list[str]:
            return [as_text(value(row)) for _, value in columns]

        lines = csv_lines([header for header, _ in columns], self.export_rows(rows), cells)
        response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
        name = str(self.opts.verbose_name_plural).replace(" ", "-")
        response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
        response["Cache-Control"] = "no-store"
        return response
