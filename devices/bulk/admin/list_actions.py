"""The actions of the portal's list of devices that start a bulk operation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from devices.bulk.admin import operation_pages
from devices.bulk.catalog import all_actions
from devices.registry.admin.filters import conditions_of
from devices.registry.models import Device
from tenants.admin.base import signed_in_user
from tenants.context import current_tenant_id
from tenants.models import Tenant

ListAction = tuple[str, str, Callable[..., HttpResponse | None]]


def actions(request: HttpRequest) -> Sequence[ListAction]:
    """Return an action of the list for each bulk action."""
    if not request.user.has_perm(operation_pages.MANAGE):
        return ()
    return [
        (f"bulk_{name}", action.label, partial(_ask, name))
        for name, action in all_actions().items()
    ]


def _ask(
    action: str, admin: Any, request: HttpRequest, devices: QuerySet[Device]
) -> HttpResponse | None:
    """Show the page of a new operation on the selected devices."""
    ids = [current_tenant_id()]
    if signed_in_user(request).sees_every_tenant:
        tenants = devices.order_by().values_list("tenant_id", flat=True)
        ids = list(tenants.distinct()[:2])
    if len(ids) != 1 or ids[0] is None:
        messages.error(
            request, "Choose devices of one tenant. The filter by tenant limits the list to one."
        )
        return None
    return operation_pages.new_page(
        request,
        tenant=Tenant.objects.get(pk=ids[0]),
        action=action,
        conditions=selected_conditions(request),
    )


def selected_conditions(request: HttpRequest) -> dict[str, str]:
    """Return the selection of a list of devices as parameters of `GET /devices`."""
    if request.POST.get("select_across") == "1":
        return conditions_of(request.GET)
    return {"devices": ",".join(request.POST.getlist("_selected_action"))}
