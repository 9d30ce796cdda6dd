"""The actions of the portal's list of devices that start a bulk operation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from devices.bulk.admin import operation_pages
from devices.bulk.catalog import all_actions
from devices.registry.admin.selection import selected_conditions, tenant_of_selection
from devices.registry.models import Device
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
    tenant_id = tenant_of_selection(request, devices)
    if tenant_id is None:
        return None
    return operation_pages.new_page(
        request,
        tenant=Tenant.objects.get(pk=tenant_id),
        action=action,
        conditions=selected_conditions(request),
    )
