"""Maintenance windows on the portal pages of devices and sites."""

from urllib.parse import urlencode

from django.db.models import Q
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from core import clock
from core.times import local_text
from devices.maintenance.admin.texts import state_text, time_text
from devices.maintenance.models import MaintenanceWindow, MaintenanceWindowQuerySet
from devices.maintenance.services import open_windows
from devices.registry.extension_points import on_tab
from devices.registry.models import Device, DeviceTag, Site

VIEW = "maintenance.view_maintenancewindow"
ADD = "maintenance.add_maintenancewindow"
MAX_WINDOWS = 10


def device_header(request: HttpRequest, device: Device) -> SafeString | str:
    """Render that a device is in maintenance, with the end, if it is."""
    if not request.user.has_perm(VIEW):
        return ""
    opened = open_windows.concerning(device, MaintenanceWindow.objects.all(), now=clock.now())
    if not opened:
        return ""
    item = opened[0]
    end = f" until {local_text(item.until)}" if item.until else ""
    url = reverse("admin:maintenance_maintenancewindow_change", args=[item.window.pk])
    return format_html(
        '<a class="portal-severity medium" href="{}">In maintenance{}: {}</a>',
        url,
        end,
        item.window,
    )


@on_tab("alerts")
def device_panel(request: HttpRequest, device: Device) -> SafeString | str:
    """Render the windows that concern a device and are not over."""
    tags = DeviceTag.objects.filter(device=device).values("tag")
    about = Q(scope="all") | Q(device=device) | Q(tag__in=tags)
    if device.site is not None:
        about |= Q(site__in=device.site.path)
    return _panel(request, about, {"scope": "device", "device_id": str(device.pk)})


def site_panel(request: HttpRequest, site: Site) -> SafeString | str:
    """Render the windows that concern all devices of a site and are not over."""
    about = Q(scope="all") | Q(site__in=site.path)
    return _panel(request, about, {"scope": "site", "site_name": site.name})


def _panel(request: HttpRequest, about: Q, initial: dict[str, str]) -> SafeString | str:
    if not request.user.has_perm(VIEW):
        return ""
    now, zones = clock.now(), open_windows.local_zones()
    rows: MaintenanceWindowQuerySet = MaintenanceWindow.objects.filter(about).not_over(now)
    add_url = reverse("admin:maintenance_maintenancewindow_add")
    windows = [
        {
            "window": window,
            "state": state_text(window, now, zones),
            "time": time_text(window),
            "url": reverse("admin:maintenance_maintenancewindow_change", args=[window.pk]),
        }
        for window in rows[:MAX_WINDOWS]
    ]
    context = {
        "windows": windows,
        "add_url": f"{add_url}?{urlencode(initial)}" if request.user.has_perm(ADD) else "",
    }
    return render_to_string("portal/maintenance_windows.html", context)
