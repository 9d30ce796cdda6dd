"""The pages of a command to many devices: looked at before, confirmed, watched."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from core.errors import DomainError
from devices.remote_control.admin.control_page import MANAGE
from devices.remote_control.admin.forms import BulkForm
from devices.remote_control.models import BulkCommand
from devices.remote_control.services import bulk_commands
from tenants.admin.base import person
from tenants.context import current_tenant_id, tenant_scope
from tenants.roles import visible_to

LISTED = ("succeeded", "failed", "expired", "cancelled", "superseded")
FIELDS = {
    "parameters": "volume",
    "parameters.volume": "volume",
    "wait_seconds": "wait_hours",
}


def new(request: HttpRequest) -> HttpResponse:
    """Say what and to whom, see how many that are, then command them."""
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    form = BulkForm(request.POST or None, user=person(request))
    if request.method != "POST" or not form.is_valid():
        return _page(request, form)
    tenant = form.cleaned_data.get("tenant")
    with tenant_scope(tenant.pk if tenant else current_tenant_id()):
        order = form.order()
        try:
            told = bulk_commands.preview(now=timezone.now(), **order)
            if request.POST.get("found") != str(told.found):
                return _page(request, form, told=told)
            row = bulk_commands.request(by=person(request), now=timezone.now(), **order)
        except DomainError as error:
            field = (error.details[0].field if error.details else error.field) or ""
            name = FIELDS.get(field, field.removeprefix("filter."))
            form.add_error(name if name in form.fields else None, str(error))
            return _page(request, form)
    if row.state == BulkCommand.State.WAITING:
        messages.warning(request, "It waits for a second person to confirm it.")
    else:
        messages.success(request, f"It goes out to {row.found:,} devices.")
    return redirect(_address(row))


@require_POST
def decide(request: HttpRequest, bulk_id: UUID) -> HttpResponse:
    """Confirm what somebody else has asked for, or stop it."""
    row = visible_to(person(request), BulkCommand).filter(pk=bulk_id).first()
    if row is None:
        raise Http404
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    with tenant_scope(row.tenant_id):
        try:
            if "confirm" in request.POST:
                bulk_commands.confirm(bulk=row, by=person(request), now=timezone.now())
                messages.success(request, "Confirmed: it goes out now.")
            else:
                bulk_commands.cancel(bulk=row, now=timezone.now())
                messages.success(request, "Stopped.")
        except DomainError as error:
            messages.error(request, str(error))
    return redirect(_address(row))


def progress(request: HttpRequest, row: BulkCommand) -> dict[str, Any]:
    """For the page of one: how far it is, and what its commands came to."""
    counts = bulk_commands.outcomes(row)
    ended = sum(counts.get(name, 0) for name in LISTED)
    state = bulk_commands.state_at(row, timezone.now())
    is_own = row.requested_by_id == person(request).pk
    may_manage = request.user.has_perm(MANAGE)
    commands = reverse("admin:remote_control_commandhistory_changelist")
    return {
        "bulk": row,
        "bulk_state": BulkCommand.State(state).label,
        "outcomes": [(name, counts[name]) for name in LISTED if name in counts],
        "unanswered": sum(counts.values()) - ended,
        "ended": ended,
        "may_confirm": may_manage and state == BulkCommand.State.WAITING and not is_own,
        "is_waiting": state == BulkCommand.State.WAITING,
        "may_stop": may_manage
        and state in (BulkCommand.State.WAITING, BulkCommand.State.RUNNING),
        "decide_address": reverse("admin:remote_control_bulk_decide", args=[row.pk]),
        "commands_address": f"{commands}?bulk__id__exact={row.pk}",
    }


def filter_in_words(filter: dict[str, str]) -> str:
    said = [f"{name} {value}" for name, value in sorted(filter.items())]
    return ", ".join(said) or "every device"


def _page(
    request: HttpRequest, form: BulkForm, told: bulk_commands.Preview | None = None
) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": "Command many devices",
        "form": form,
        "told": told,
        "back": reverse("admin:remote_control_bulkcommand_changelist"),
    }
    return TemplateResponse(request, "portal/bulk_new.html", context)


def _address(row: BulkCommand) -> str:
    return reverse("admin:remote_control_bulkcommand_change", args=[row.pk])
