"""Portal pages of bulk commands: preview, request, confirm, cancel and progress."""

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from core import clock
from core.errors import DomainError
from devices.registry.admin import selection
from devices.remote_control.admin.control_page import MANAGE
from devices.remote_control.admin.forms import BulkForm
from devices.remote_control.models import BulkCommand
from devices.remote_control.services import bulk_commands
from tenants.admin.base import signed_in_user
from tenants.context import current_tenant_id, tenant_scope
from tenants.roles import visible_to

FINAL_STATUSES = ("succeeded", "failed", "expired", "cancelled", "superseded")
FORM_FIELDS = {  # field of the service error → field of the form
    "parameters": "volume",
    "parameters.volume": "volume",
    "wait_seconds": "wait_hours",
}


def new(request: HttpRequest) -> HttpResponse:
    """Show the form of a bulk command. Preview the number of devices, then request the command."""
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    initial = selection.taken_over(request)
    form = BulkForm(request.POST or None, initial=initial, user=signed_in_user(request))
    if request.method != "POST" or not form.is_valid():
        return _page(request, form)
    tenant = form.cleaned_data.get("tenant")
    with tenant_scope(tenant.pk if tenant else current_tenant_id()):
        order = form.order()
        try:
            preview = bulk_commands.preview(now=clock.now(), **order)
            # The form repeats the number that the member saw. If the number has changed,
            # the member sees the new number before any command is sent.
            if request.POST.get("found") != str(preview.found):
                return _page(request, form, preview=preview)
            row = bulk_commands.request(by=signed_in_user(request), now=clock.now(), **order)
        except DomainError as error:
            field = (error.details[0].field if error.details else error.field) or ""
            name = FORM_FIELDS.get(field, field.removeprefix("filter."))
            form.add_error(name if name in form.fields else None, str(error))
            return _page(request, form)
    if row.state == BulkCommand.State.WAITING:
        messages.warning(
            request, "Bulk command requested. A second member must confirm it within an hour."
        )
    else:
        messages.success(request, f"Bulk command started. Devices: {row.found:,}.")
    return redirect(_page_url(row))


@require_POST
def decide(request: HttpRequest, bulk_id: UUID) -> HttpResponse:
    """Confirm or cancel a bulk command."""
    row = get_object_or_404(visible_to(signed_in_user(request), BulkCommand).filter(pk=bulk_id))
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    with tenant_scope(row.tenant_id):
        try:
            if "confirm" in request.POST:
                bulk_commands.confirm(bulk=row, by=signed_in_user(request), now=clock.now())
                messages.success(request, "Bulk command confirmed and started.")
            else:
                bulk_commands.cancel(bulk=row, now=clock.now())
                messages.success(request, "Bulk command cancelled.")
        except DomainError as error:
            messages.error(request, str(error))
    return redirect(_page_url(row))


def progress(request: HttpRequest, row: BulkCommand) -> dict[str, Any]:
    """Return the template variables of a bulk command's progress."""
    counts = bulk_commands.outcomes(row)
    ended = sum(counts.get(name, 0) for name in FINAL_STATUSES)
    state = bulk_commands.state_at(row, clock.now())
    is_requester = row.requested_by_id == signed_in_user(request).pk
    may_manage = request.user.has_perm(MANAGE)
    commands_url = reverse("admin:remote_control_commandhistory_changelist")
    return {
        "bulk": row,
        "bulk_state": BulkCommand.State(state).label,
        "outcomes": [(name, counts[name]) for name in FINAL_STATUSES if name in counts],
        "unanswered": sum(counts.values()) - ended,
        "ended": ended,
        "may_confirm": may_manage and state == BulkCommand.State.WAITING and not is_requester,
        "is_waiting": state == BulkCommand.State.WAITING,
        "may_cancel": may_manage
        and state in (BulkCommand.State.WAITING, BulkCommand.State.RUNNING),
        "decide_url": reverse("admin:remote_control_bulk_decide", args=[row.pk]),
        "commands_url": f"{commands_url}?bulk__id__exact={row.pk}",
    }


def filter_text(filter: dict[str, str]) -> str:
    """Return a filter as text, such as `model X96, tag lobby`."""
    conditions = [f"{name} {value}" for name, value in sorted(filter.items())]
    return ", ".join(conditions) or "all devices"


def _page(
    request: HttpRequest, form: BulkForm, preview: bulk_commands.Preview | None = None
) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": "New bulk command",
        "form": form,
        "preview": preview,
        "list_url": reverse("admin:remote_control_bulkcommand_changelist"),
    }
    return TemplateResponse(request, "portal/bulk_new.html", context)


def _page_url(row: BulkCommand) -> str:
    return reverse("admin:remote_control_bulkcommand_change", args=[row.pk])


def list_actions(request: HttpRequest) -> list[tuple[str, str, Any]]:
    """Return the action of the device list that opens the form with the selected devices."""
    if not request.user.has_perm(MANAGE):
        return []
    page = partial(selection.hand_over, "admin:remote_control_bulkcommand_add")
    return [("send_command", "Send a command", page)]
