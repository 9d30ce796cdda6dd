"""Export a list of the portal as CSV or XLSX, as it is filtered."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.http import require_GET

from core.spreadsheets import TooManyRows, as_text, csv_lines, workbook
from tenants.admin.base import list_url
from tenants.admin.saved_views import SavedViewsMixin

WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
Column = tuple[str, Callable[[Any], object]]  # the header, and the value for a row


class ExportMixin(SavedViewsMixin):
    """Admin whose list has links to the same rows as CSV and XLSX, in the order of their ids.

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
        workbook = self.admin_site.admin_view(require_GET(self.export_workbook))
        return [
            path("export/", view, name=name),
            path("export.xlsx", workbook, name=f"{name}_workbook"),
            *super().get_urls(),
        ]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """Return the rows of the list with the filters in the query string."""
        return self._answer(request, self._as_csv)

    def export_workbook(self, request: HttpRequest) -> HttpResponseBase:
        """Return the same rows as a workbook, if they are not too many."""
        return self._answer(request, self._as_workbook)

    def _answer(
        self, request: HttpRequest, make: Callable[[HttpRequest], HttpResponseBase]
    ) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        page = list_url(self)
        try:
            answer: HttpResponseBase = self.with_filters(request, page, lambda: make(request))
        except TooManyRows as error:
            messages.error(request, str(error))
            return redirect(f"{page}?{request.GET.urlencode()}")
        return answer

    def _as_csv(self, request: HttpRequest) -> StreamingHttpResponse:
        lines = csv_lines(*self._exported(request))
        response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
        return self._named(response, "csv")

    def _as_workbook(self, request: HttpRequest) -> FileResponse:
        file = workbook(*self._exported(request))
        return self._named(FileResponse(file, content_type=WORKBOOK), "xlsx")

    def _named(self, response: Any, extension: str) -> Any:
        name = str(self.opts.verbose_name_plural).replace(" ", "-")
        response["Content-Disposition"] = f'attachment; filename="{name}.{extension}"'
        response["Cache-Control"] = "no-store"
        return response

    def _exported(self, request: HttpRequest) -> tuple[list[str], QuerySet[Any], Any]:
        """Return the headers, the rows, and a function that returns the cells of a row."""
        rows = self.get_changelist_instance(request).get_queryset(request)
        columns = self.get_export_columns(request)

        def cells(row: Any) -> list[str]:
            return [as_text(value(row)) for _, value in columns]

        return [header for header, _ in columns], self.export_rows(rows), cells
