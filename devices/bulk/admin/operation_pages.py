"""Portal pages of bulk operations: a new one, its progress, its results."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from core import clock
from core.errors import DomainError
from core.spreadsheets import csv_lines
from devices.bulk.actions import BulkAction
from devices.bulk.admin.forms import NewOperationForm
from devices.bulk.catalog import action_named, all_actions
from devices.bulk.models import BulkOperation, BulkResult
from devices.bulk.services import operations
from tenants.admin.base import signed_in_user
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Tenant
from tenants.roles import visible_to

MANAGE = "bulk.add_bulkoperation"
EXAMPLE_ROWS = 10  # shown of each outcome
Outcome = BulkResult.Outcome


def new_page(
    request: HttpRequest, *, tenant: Tenant, action: str, conditions: dict[str, str]
) -> HttpResponse:
    """Return the page that asks for the parameters of an action and shows its devices."""
    described = action_named(action)
    form = NewOperationForm(initial={"conditions": conditions}, action=described)
    return _page(request, form, described, tenant, conditions)


@require_POST
def start(request: HttpRequest, tenant: str, action: str) -> HttpResponse:
    """Start an operation, if as many devices match as the member has seen."""
    user = signed_in_user(request)
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    chosen = get_object_or_404(Tenant, slug=tenant)
    if not user.sees_every_tenant and chosen.pk != current_tenant_id():
        raise PermissionDenied
    try:
        described = action_named(action)
    except DomainError as error:
        messages.error(request, str(error))
        return redirect("admin:devices_device_changelist")
    form = NewOperationForm(request.POST, action=described)
    conditions: dict[str, str] = {}
    if form.is_valid():
        conditions = form.cleaned_data["conditions"]
        with tenant_scope(chosen.pk):
            row = _start(request, form, conditions)
        if row is not None:
            messages.success(request, f"Started for {row.found:,} devices.")
            return redirect(page_url(row))
    return _page(request, form, described, chosen, conditions)


@require_POST
def act(request: HttpRequest, operation_id: UUID) -> HttpResponse:
    """Cancel or undo an operation."""
    row = _operation(request, operation_id)
    with tenant_scope(row.tenant_id):
        try:
            if "undo" in request.POST:
                row = operations.undo(operation=row, by=signed_in_user(request), now=clock.now())
                messages.success(request, "The undo was started.")
            else:
                operations.cancel(operation=row, now=clock.now())
                messages.success(request, "Stopped. Devices that were changed stay as they are.")
        except DomainError as error:
            messages.error(request, str(error))
    return redirect(page_url(row))


@require_GET
def report(request: HttpRequest, operation_id: UUID) -> StreamingHttpResponse:
    """Return the results of an operation as CSV."""
    row = get_object_or_404(
        visible_to(signed_in_user(request), BulkOperation).filter(pk=operation_id)
    )

    def cells(item: BulkResult) -> list[str]:
        return [str(item.device_id), item.device.name, item.outcome, item.detail]

    results = BulkResult.every_tenant.filter(operation=row).exclude(outcome=Outcome.WAITING)
    rows = results.select_related("device")
    lines = csv_lines(["device_id", "name", "result", "detail"], rows, cells)
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="bulk-operation-{row.pk}.csv"'
    return response


def page_context(request: HttpRequest, row: BulkOperation) -> dict[str, Any]:
    """Return the template context of an operation's page."""
    may_manage = request.user.has_perm(MANAGE)
    counts = {
        Outcome.REFUSED: row.refused,
        Outcome.DONE: row.done,
        Outcome.UNCHANGED: row.unchanged,
    }
    return {
        "operation": row,
        "description": description(row),
        "selection": selection_text(row),
        "examples": [
            (outcome.label, count, operations.results_of(row, outcome)[:EXAMPLE_ROWS])
            for outcome, count in counts.items()
            if count
        ],
        "is_running": row.state == BulkOperation.State.RUNNING,
        "may_undo": may_manage and operations.can_undo(row),
        "undone_by": getattr(row, "undone_by", None),
        "may_cancel": may_manage and row.state == BulkOperation.State.RUNNING,
        "act_url": reverse("admin:bulk_act", args=[row.pk]),
        "report_url": reverse("admin:bulk_report", args=[row.pk]),
    }


def description(row: BulkOperation) -> str:
    """Return what an operation does, such as `Add tags: lobby`."""
    action = all_actions().get(row.action)
    text = action.description(row.parameters) if action else row.action
    return f"Undo: {text}" if row.undoes_id else text


def selection_text(row: BulkOperation) -> str:
    """Return which devices an operation was started for."""
    if row.undoes_id:
        return "Devices that the operation has changed"
    return conditions_text(row.filter)


def conditions_text(conditions: dict[str, str]) -> str:
    """Return a filter of devices as text, such as `tag lobby, status offline`."""
    if "devices" in conditions:
        return "Selected devices"
    parts = [f"{name.replace('_', ' ')} {text}" for name, text in sorted(conditions.items())]
    return ", ".join(parts).capitalize() or "All devices"


def page_url(row: BulkOperation) -> str:
    return reverse("admin:bulk_bulkoperation_change", args=[row.pk])


def _start(
    request: HttpRequest, form: NewOperationForm, conditions: dict[str, str]
) -> BulkOperation | None:
    order: dict[str, Any] = {
        "action": form.action.name,
        "parameters": form.parameters(),
        "filter": conditions,
    }
    try:
        preview = operations.preview(now=clock.now(), **order)
        if preview.found != form.cleaned_data["found"]:
            form.add_error(None, "Other devices match now. Look at them, then start again.")
            return None
        return operations.start(by=signed_in_user(request), now=clock.now(), **order)
    except DomainError as error:
        form.add_error(error.field if error.field in form.fields else None, str(error))
        return None


def _page(
    request: HttpRequest,
    form: NewOperationForm,
    action: BulkAction,
    tenant: Tenant,
    conditions: dict[str, str],
) -> HttpResponse:
    with tenant_scope(tenant.pk):
        try:
            preview = (
                operations.select(conditions, now=clock.now()) if conditions_given(form) else None
            )
        except DomainError as error:
            messages.error(request, str(error))
            preview = None
        context = {
            **admin.site.each_context(request),
            "title": action.label,
            "form": form,
            "visible_fields": [form[item.name] for item in action.inputs],
            "action": action,
            "preview": preview,
            "others": preview.found - len(preview.examples) if preview else 0,
            "selection": conditions_text(conditions),
            "start_url": reverse("admin:bulk_start", args=[tenant.slug, action.name]),
            "list_url": reverse("admin:devices_device_changelist"),
        }
        return TemplateResponse(request, "portal/bulk_operation_new.html", context).render()


def conditions_given(form: NewOperationForm) -> bool:
    return not form.is_bound or "conditions" not in form.errors


def _operation(request: HttpRequest, operation_id: UUID) -> BulkOperation:
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    visible = visible_to(signed_in_user(request), BulkOperation)
    return get_object_or_404(visible.filter(pk=operation_id))
