"""The wall of screens: the last screenshot of each device."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET, require_POST

from core import clock
from core.errors import DomainError
from devices.registry import device_filters
from devices.registry.admin.filters import conditions_of
from devices.registry.models import Device
from devices.remote_control.admin.control_page import MANAGE, VIEW
from devices.remote_control.api.screenshot_views import image_response
from devices.remote_control.errors import NoDevicesFound
from devices.remote_control.models import BulkCommand, Screenshot
from devices.remote_control.services import bulk_commands
from tenants.admin.base import signed_in_user
from tenants.context import current_tenant_id, tenant_scope
from tenants.roles import visible_to

PER_PAGE = 60
MAX_PAGE = 500
FILTERS = ("q", "site", "tag", "status")
STATES = {"online": "Online", "offline": "Offline", "never_connected": "Never connected"}


@dataclass(frozen=True, slots=True)
class Screen:
    """A device on the wall. `image` is the address of its thumbnail, if it has a screenshot."""

    device: Device
    image: str
    taken_at: Any

    @property
    def state(self) -> str:
        """The name of the device's state."""
        return self.device.state

    @property
    def state_label(self) -> str:
        label = STATES[self.device.state]
        return f"{label}, in quarantine" if self.device.quarantined_at else label


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Show the wall, filtered as the list of devices."""
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    user, filters = signed_in_user(request), _filters(request.GET)
    number = _page_number(request)
    devices: Any = visible_to(user, Device)
    fault = ""
    try:
        devices = device_filters.narrow(devices, conditions_of(_query(filters)), now=clock.now())
    except DomainError as error:
        devices, fault = devices.none(), str(error)
    start = (number - 1) * PER_PAGE
    screens = screens_of(devices, start, PER_PAGE + 1)
    context = {
        **admin.site.each_context(request),
        "title": "Screens",
        "screens": screens[:PER_PAGE],
        "fault": fault,
        "filters": filters,
        "is_filtered": any(filters.values()),
        "states": STATES.items(),
        "page": number,
        "previous_url": _url(filters, number - 1) if number > 1 else "",
        "next_url": _url(filters, number + 1)
        if len(screens) > PER_PAGE and number < MAX_PAGE
        else "",
        "may_take": request.user.has_perm(MANAGE),
        "take_url": f"{reverse('admin:take_screenshots')}?{urlencode(filters)}",
        "policy_url": reverse("admin:remote_control_remotecontrolpolicy_changelist"),
        "may_change_policy": request.user.has_perm("remote_control.change_remotecontrolpolicy"),
    }
    return TemplateResponse(request, "portal/screens.html", context)


@require_POST
def take(request: HttpRequest) -> HttpResponse:
    """Request new screenshots of the selected devices, or of all that match the filters."""
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    filters = _filters(request.GET)
    for tenant_id, conditions in _orders(request, filters):
        with tenant_scope(tenant_id):
            try:
                row = bulk_commands.request(
                    type="screenshot",
                    parameters={},
                    filter=conditions,
                    by=signed_in_user(request),
                    now=clock.now(),
                )
            except DomainError as error:
                messages.error(request, _sentence(error))
                continue
        if row.state == BulkCommand.State.WAITING:
            messages.warning(
                request,
                f"A second member must confirm the screenshots of {row.found:,} devices within an"
                " hour, under Bulk commands.",
            )
        else:
            messages.success(
                request, f"Screenshots requested: {row.found:,}. They appear here as they arrive."
            )
    return redirect(_url(filters, _page_number(request)))


@require_GET
def thumbnail(request: HttpRequest, screenshot_id: UUID) -> HttpResponse:
    """Return the small image of a screenshot, or the image itself if there is none."""
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    rows = visible_to(signed_in_user(request), Screenshot).filter(pk=screenshot_id)
    small = get_object_or_404(rows.defer("image"))
    if small.thumbnail is None:
        return image_response(small)
    small.image, small.content_type = small.thumbnail, "image/jpeg"
    return image_response(small)


def _orders(request: HttpRequest, filters: dict[str, str]) -> list[tuple[Any, dict[str, str]]]:
    """Return the tenant and the device filter of each bulk command."""
    user = signed_in_user(request)
    if "all" in request.POST:
        if user.sees_every_tenant:
            messages.error(request, "Open one tenant first, or select devices.")
            return []
        return [(current_tenant_id(), conditions_of(_query(filters)))]
    ids: dict[Any, list[str]] = defaultdict(list)
    selected = [text for text in request.POST.getlist("device") if _is_uuid(text)][:PER_PAGE]
    devices = visible_to(user, Device).filter(pk__in=selected)
    for device_id, tenant_id in devices.values_list("pk", "tenant"):
        ids[tenant_id].append(str(device_id))
    if not ids:
        messages.error(request, "Select devices first.")
    return [(tenant_id, {"devices": ",".join(own)}) for tenant_id, own in ids.items()]


def _sentence(error: DomainError) -> str:
    if isinstance(error, NoDevicesFound):
        return "None of these devices is online, so no screenshot can be taken now."
    return str(error)


def screens_of(devices: Any, start: int, count: int) -> list[Screen]:
    """Return devices that are not retired with their last screenshots, ordered by name.

    Args:
        start: how many devices to skip.
    """
    newest = Screenshot.every_tenant.filter(device=OuterRef("pk")).order_by("-taken_at", "-id")
    rows = (
        devices.not_retired()
        .select_related("site", "tenant")
        .annotate(
            screenshot=Subquery(newest.values("pk")[:1]),
            screenshot_taken_at=Subquery(newest.values("taken_at")[:1]),
        )
        .order_by("name", "pk")
    )
    return [_screen(row) for row in rows[start : start + count]]


def _screen(device: Any) -> Screen:
    image = ""
    if device.screenshot:
        image = reverse("admin:remote_control_thumbnail", args=[device.screenshot])
    return Screen(device, image, device.screenshot_taken_at)


def _filters(data: QueryDict) -> dict[str, str]:
    return {name: data.get(name, "").strip()[:120].replace("\x00", "") for name in FILTERS}


def _query(filters: dict[str, str]) -> QueryDict:
    return QueryDict(urlencode(filters))


def _page_number(request: HttpRequest) -> int:
    text = request.GET.get("page", "1")
    is_number = text.isascii() and text.isdecimal() and len(text) < 6
    return min(max(int(text), 1), MAX_PAGE) if is_number else 1


def _url(filters: dict[str, str], number: int) -> str:
    given = {name: value for name, value in filters.items() if value}
    if number > 1:
        given["page"] = str(number)
    query = urlencode(given)
    return reverse("admin:screens") + (f"?{query}" if query else "")


def _is_uuid(text: str) -> bool:
    return device_filters.CANONICAL_UUID.fullmatch(text) is not None


def device_header(request: HttpRequest, device: Device) -> SafeString | str:
    """Render the last screenshot of a device, which leads to its control page."""
    if not request.user.has_perm(VIEW) or device.status == Device.Status.RETIRED:
        return ""
    newest = Screenshot.objects.filter(device=device).values_list("pk", "taken_at")
    row = newest.order_by("-taken_at", "-id").first()
    context = {
        "image": reverse("admin:remote_control_thumbnail", args=[row[0]]) if row else "",
        "taken_at": row[1] if row else None,
        "control_url": reverse("admin:remote_control_control", args=[device.pk]),
        "may_manage": request.user.has_perm(MANAGE),
    }
    return render_to_string("portal/device_screen.html", context)
