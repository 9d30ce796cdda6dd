"""The portal's map of sites."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from core.errors import TakesTooLong
from core.statement_limit import statement_limit
from devices.monitoring.models import Alert
from devices.registry.models import Device, Site
from tenants.admin.base import signed_in_user
from tenants.roles import visible_to

VIEW = "devices.view_site"
MAX_SITES = 20_000  # on one map, the first by name
MAX_SECONDS = 5.0  # for a statement


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Show the map. Its sites are loaded by `map.js`."""
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    sites = visible_to(signed_in_user(request), Site)
    context = {
        **admin.site.each_context(request),
        "title": "Map of sites",
        "has_sites": sites.exists(),
        "unplaced": sites.filter(latitude=None)[: MAX_SITES + 1].count(),
        "data_url": reverse("admin:site_map_data"),
        "list_url": reverse("admin:devices_site_changelist"),
        "tiles_url": settings.MAP_TILES_URL,
        "tiles_attribution": settings.MAP_TILES_ATTRIBUTION,
    }
    return TemplateResponse(request, "portal/site_map.html", context)


@require_GET
@never_cache
def data(request: HttpRequest) -> JsonResponse:
    """Return the sites that have coordinates, as JSON for `map.js`.

    Each has its id, name, latitude, longitude, the numbers of devices that are online, offline
    and never connected, and the number of open alerts.
    """
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    try:
        with statement_limit(MAX_SECONDS):
            return JsonResponse({"sites": _sites(request)})
    except TakesTooLong as error:
        return JsonResponse({"error": str(error)}, status=503)


def _sites(request: HttpRequest) -> list[list[Any]]:
    user = signed_in_user(request)
    counts = _device_counts(user)
    all_alerts: Any = visible_to(user, Alert)
    alerts = all_alerts.open().filter(device__site__isnull=False)
    open_alerts = dict(
        alerts.order_by().values_list("device__site").annotate(count=Count("pk"))
        if request.user.has_perm("monitoring.view_alert")
        else ()
    )
    placed = visible_to(user, Site).filter(latitude__isnull=False).order_by("name", "pk")
    rows = placed.values_list("pk", "name", "latitude", "longitude")[:MAX_SITES]
    return [
        [str(pk), name, latitude, longitude, *counts.get(pk, (0, 0, 0)), open_alerts.get(pk, 0)]
        for pk, name, latitude, longitude in rows
    ]


def _device_counts(user: Any) -> dict[Any, tuple[int, int, int]]:
    """Return the numbers of devices at each site: online, offline, never connected."""
    all_devices: Any = visible_to(user, Device)
    devices = all_devices.not_retired().filter(site__isnull=False).order_by()
    offline = Q(status=Device.Status.OFFLINE)
    rows = devices.values_list("site").annotate(
        online=Count("pk", filter=Q(status=Device.Status.ONLINE)),
        offline=Count("pk", filter=offline & Q(last_seen__isnull=False)),
        never=Count("pk", filter=offline & Q(last_seen__isnull=True)),
    )
    return {site: (online, gone, never) for site, online, gone, never in rows}
