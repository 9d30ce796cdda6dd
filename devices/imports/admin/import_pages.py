"""Portal pages of one import: upload, columns, check, start and report."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from core import clock, uploads
from core.errors import DomainError
from core.spreadsheets import csv_lines
from devices.imports import columns, reading
from devices.imports.models import DeviceImport, ImportRow
from devices.imports.services import imports
from tenants.admin.base import signed_in_user
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Tenant
from tenants.roles import visible_to

MANAGE = "imports.add_deviceimport"
EXAMPLE_ROWS = 10  # shown of each outcome
Outcome = ImportRow.Outcome
State = DeviceImport.State
# What a member wants to see first.
OUTCOMES = (Outcome.REFUSED, Outcome.REPEATED, Outcome.NEW, Outcome.CHANGED, Outcome.UNCHANGED)
UPLOAD_FAULTS = {
    uploads.LengthUnknown: "The browser has not sent the size of the file.",
    uploads.TooLarge: f"The file has more than {reading.MAX_BYTES // 1_000_000} MB.",
    uploads.InsufficientDiskSpace: "The server has not enough disk space.",
    uploads.IncompleteUpload: "The upload was interrupted. Try again.",
}


def new(request: HttpRequest, admin: Any) -> HttpResponse:
    """Show the page on which a file is chosen."""
    user = signed_in_user(request)
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    context = {
        **admin.admin_site.each_context(request),
        "title": "Import devices",
        "opts": admin.opts,
        "tenants": Tenant.objects.order_by("name")[:500] if user.sees_every_tenant else (),
        "create_url": reverse("admin:imports_create"),
        "list_url": reverse("admin:imports_deviceimport_changelist"),
        "max_size": reading.MAX_BYTES,
        "max_size_text": f"{reading.MAX_BYTES // 1_000_000} MB",
        "max_rows_text": f"{reading.MAX_ROWS:,}",
        "fields": list(columns.FIELDS.values()),
    }
    return TemplateResponse(request, "portal/import_new.html", context)


@require_POST
def create(request: HttpRequest) -> HttpResponse:
    """Create an import. The response is JSON for `upload.js`."""
    user = signed_in_user(request)
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    tenant_id = current_tenant_id()
    if user.sees_every_tenant:
        tenant_id = get_object_or_404(Tenant, slug=request.POST.get("tenant", "")).pk
    with tenant_scope(tenant_id):
        row = imports.create(by=user, now=clock.now())
    return JsonResponse({"upload": reverse("admin:imports_file", args=[row.pk]), "page": _url(row)})


@require_http_methods(["PUT"])
def upload(request: HttpRequest, import_id: UUID) -> HttpResponseBase:
    """Store the uploaded file. The response is JSON for `upload.js`."""
    row = _import(request, import_id)
    name = unquote(request.headers.get("X-File-Name", ""))[:200].replace("\x00", "")
    with tenant_scope(row.tenant_id):
        try:
            with uploads.receive_upload(request, most=reading.MAX_BYTES) as spooled:
                if spooled is None:
                    return uploads.admission_response(reading.MAX_BYTES, owner=row.tenant_id)
                content = Path(spooled.path).read_bytes()
            imports.receive(
                device_import=row, file_name=name or "file", content=content, now=clock.now()
            )
        except tuple(UPLOAD_FAULTS) as error:
            return JsonResponse({"error": UPLOAD_FAULTS[type(error)]}, status=409)
        except DomainError as error:
            return JsonResponse({"error": str(error)}, status=409)
    return JsonResponse({"page": _url(row)})


@require_POST
def act(request: HttpRequest, import_id: UUID) -> HttpResponse:
    """Choose the encoding or the columns of an import, start it, or cancel it."""
    row = _import(request, import_id)
    with tenant_scope(row.tenant_id):
        try:
            _act(request, row)
        except DomainError as error:
            messages.error(request, str(error))
    return redirect(_url(row))


def _act(request: HttpRequest, row: DeviceImport) -> None:
    now = clock.now()
    if "start" in request.POST:
        imports.start(device_import=row, now=now)
        messages.success(request, "The import was started.")
    elif "cancel" in request.POST:
        imports.cancel(device_import=row, now=now)
        messages.success(request, "The import was cancelled.")
    elif "read_again" in request.POST:
        imports.change_encoding(device_import=row, encoding=request.POST.get("encoding", ""))
    elif "check" in request.POST:
        places = range(len(row.columns))
        fields = [request.POST.get(f"column_{place}", "") for place in places]
        imports.check(
            device_import=row, fields=fields, creates_sites="creates_sites" in request.POST, now=now
        )
    else:
        raise Http404


@require_GET
def report(request: HttpRequest, import_id: UUID) -> StreamingHttpResponse:
    """Return the rows of an import with their outcomes as CSV."""
    row = _import(request, import_id)
    fields = [field for field in dict.fromkeys(c["field"] for c in row.columns) if field]
    header = ["row", "outcome", "detail", *fields, "device_id"]

    def cells(item: ImportRow) -> list[str]:
        values = [item.values.get(field, "") for field in fields]
        device_id = str(item.device_id or "")
        return [str(item.number), item.outcome, item.detail, *values, device_id]

    rows = ImportRow.every_tenant.filter(device_import=row)
    lines = csv_lines(header, rows, cells, key="number")
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="import-{row.pk}.csv"'
    return response


def page_context(request: HttpRequest, row: DeviceImport) -> dict[str, Any]:
    """Return the template context of an import's page."""
    counts = imports.outcomes(row)
    may_manage = request.user.has_perm(MANAGE)
    examples = [
        (outcome, counts[outcome], imports.rows_of(row, outcome)[:EXAMPLE_ROWS])
        for outcome in OUTCOMES
        if counts[outcome]
    ]
    usable = sum(counts[outcome] for outcome in ImportRow.APPLIED)
    return {
        "device_import": row,
        "counts": [(Outcome(outcome).label, count) for outcome, count, _ in examples],
        "examples": examples,
        "usable": usable,
        "is_working": row.state in DeviceImport.WORKING,
        "may_choose_columns": may_manage and row.state in (State.COLUMNS, State.CHECKED),
        "may_start": may_manage and row.state == State.CHECKED and usable > 0,
        "may_cancel": may_manage and row.state in DeviceImport.OPEN,
        "may_upload": may_manage and row.state in (State.EMPTY, State.COLUMNS),
        "fields": list(columns.of_tenant().items()),
        "encodings": list(reading.ENCODINGS.items()),
        "is_text": row.encoding != reading.WORKBOOK,
        "upload_url": reverse("admin:imports_file", args=[row.pk]),
        "act_url": reverse("admin:imports_act", args=[row.pk]),
        "report_url": reverse("admin:imports_report", args=[row.pk]),
        "devices_url": reverse("admin:devices_device_changelist"),
        "max_size": reading.MAX_BYTES,
    }


def _import(request: HttpRequest, import_id: UUID) -> DeviceImport:
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    visible = visible_to(signed_in_user(request), DeviceImport)
    return get_object_or_404(visible.filter(pk=import_id))


def _url(row: DeviceImport) -> str:
    return reverse("admin:imports_deviceimport_change", args=[row.pk])
